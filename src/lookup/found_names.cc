#include "lookup/found_names.h"

#include <array>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <string_view>

#include "engine/host_filter.h"
#include "engine/text.h"
#include "os/clock.h"
#include "os/own_connections.h"
#include "process/process.h"

namespace nextaddr {
namespace {

constexpr std::uint64_t kJustNowMs = 10'000;

// What is known of one name. When there are too many, a new name takes the place of another; a
// number that was found under that one then counts as a host.
struct FoundName {
  std::atomic<std::uint64_t> name;      // stands for it; 0: free
  std::atomic<std::uint64_t> found_ms;  // 0: while it is being made another's
  std::atomic<std::uint64_t> number;    // stands for the one address that was looked up by number
  std::atomic<std::uint16_t> port;
};
constinit std::array<FoundName, 256> found_names{};
constinit std::atomic<std::uint32_t> next_place{0};
// True once a name had to make room of which a number was looked up: that is not known any more.
constinit std::atomic<bool> made_room{false};

constexpr std::uint64_t kSeveralNumbers = ~std::uint64_t{0};

// Stands for a name as the host table keeps it: without a dot at the end, in any case.
std::uint64_t id_of(std::string_view name) {
  if (name.size() > 1 && name.back() == '.') name.remove_suffix(1);
  std::uint64_t id = 1;
  for (const char c : name) id = mix(id, static_cast<unsigned char>(lower_case(c)));
  return id | 1;
}

std::uint64_t id_of(const Address& address) {
  return (long_hash_of(address) | 1) & ~std::uint64_t{2};
}

FoundName* find(std::uint64_t name) {
  for (FoundName& each : found_names) {
    if (each.name.load(std::memory_order_acquire) == name) return &each;
  }
  return nullptr;
}

// A place for another name: a free one, or that of a name of which no number was looked up, as long
// as there is one.
FoundName* place_for_another() {
  FoundName* found = found_names.data();
  for (std::size_t i = 0; i < found_names.size(); ++i) {
    found = &found_names[next_place.fetch_add(1, std::memory_order_relaxed) % found_names.size()];
    if (found->number.load(std::memory_order_relaxed) == 0) break;
  }
  if (found->number.load(std::memory_order_relaxed) != 0) made_room.store(true);
  found->name.store(0, std::memory_order_release);
  return found;
}

// One question about a number, put to each host that has this address.
struct Question {
  Address address;
  std::uint16_t port;
  bool repeats = false;  // the number repeats what was found under some name
  bool differs = false;  // it may be a host of its own, in spite of some name
};

struct OtherMember {
  std::string_view host;
  const Address* address;
};

// True when this connection is to another address of the host (ConnectionTest).
bool is_to_other_member(void* context, const OwnConnection& connection) {
  auto& member = *static_cast<OtherMember*>(context);
  const Address& peer = connection.peer.address;
  if (peer == *member.address) return false;
  const auto is_same = [](void* host, std::string_view holder, std::size_t) {
    return same_host(*static_cast<std::string_view*>(host), holder);
  };
  return host_table().any_holder(peer, is_same, &member.host);
}

// Asked of each host that has the address (HostTable::HolderTest): sets what the question asks for.
bool ask(void* context, std::string_view host, std::size_t) {
  auto& question = *static_cast<Question*>(context);
  FoundName* found = find(id_of(host));
  // A host that another process has found, or that was found long ago, or is a number, tells
  // nothing.
  if (found == nullptr) return false;
  const std::uint64_t found_ms = found->found_ms.load(std::memory_order_acquire);
  const std::uint64_t id = id_of(question.address);
  std::uint64_t number = 0;
  if (!found->number.compare_exchange_strong(number, id) && number != id) {
    found->number.store(kSeveralNumbers);
    question.differs = true;
  }
  const std::uint16_t port = found->port.load(std::memory_order_relaxed);
  const bool same_service = port == 0 || question.port == 0 || port == question.port;
  OtherMember member{host, &question.address};
  if (!same_service || found_ms == 0 || now_ms() - found_ms > kJustNowMs || question.differs ||
      may_have_connection(is_to_other_member, &member)) {
    question.differs = true;
  } else {
    question.repeats = true;
  }
  return false;
}

}  // namespace

void note_found_name(const char* name, std::uint16_t port) {
  const std::uint64_t id = id_of(name);
  FoundName* found = find(id);
  if (found == nullptr) {
    found = place_for_another();
    found->found_ms.store(0, std::memory_order_relaxed);
    found->number.store(made_room.load() ? kSeveralNumbers : 0, std::memory_order_relaxed);
  }
  found->port.store(port, std::memory_order_relaxed);
  found->found_ms.store(now_ms(), std::memory_order_release);
  found->name.store(id, std::memory_order_release);
}

bool any_found_name() { return next_place.load(std::memory_order_relaxed) != 0; }

bool repeats_found_address(const Address& address, std::uint16_t port) {
  Question question{address, port};
  host_table().any_holder(address, ask, &question);
  return question.repeats && !question.differs;
}

}  // namespace nextaddr
