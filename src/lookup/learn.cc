#include "lookup/learn.h"

#include <netinet/in.h>

#include "config.h"
#include "engine/address.h"
#include "engine/host_table.h"
#include "log/report.h"
#include "lookup/borrowed_list.h"
#include "lookup/found_names.h"
#include "memory/memory.h"
#include "os/clock.h"
#include "os/errno_kept.h"
#include "process/process.h"

namespace nextaddr {
namespace {

// Gathers the addresses of one answer. Those that there is no room for, or no memory, are failed
// over no more, because it would be forgotten whose they are.
class Answer {
 public:
  void add(const Address& address) {
    if (list_.get() == nullptr || !list_.get()->add(address)) host_table().shut(address);
  }

  void shut() const {
    if (list_.get() != nullptr) host_table().shut(*list_.get());
  }

  void learn(const char* host, bool numeric, LookupFamilies families, std::uint16_t port,
             MayWait may_wait) {
    if (!owns_memory() || list_.get() == nullptr || list_.get()->size() == 0) return;
    AddressList& addresses = *list_.get();
    if (numeric) may_wait = MayWait::kNo;
    if (numeric && addresses.size() == 1 && repeats_found_address(addresses[0], port)) {
      return report_debug("takes for that of a name found just now the number ", host);
    }
    bool learned = false;
    {
      const TableLock lock(host_table(), may_wait);
      // Hosts that share addresses are written down at each lookup, so that the latest counts. In
      // the processes of a busy pre-forking server the lock is not always had in time: what is
      // known already is no reason to close a door for ever.
      learned = lock.held() ? host_table().learn(host, addresses, families, config().filter, port)
                            : host_table().holds(host, addresses, families);
    }
    if (!learned) host_table().shut(addresses);
    if (!numeric) note_found_name(host, port);
    if (learned && addresses.size() > 1) refresh_memory();
    if (!learned) return report_debug("cannot remember the addresses of ", host);
    report_lookup(host, addresses);
  }

 private:
  const BorrowedList list_;
};

// Of an AddrinfoList, a HostentList or a DnsAnswer.
template <typename List>
void gather(List& from, Answer& to) {
  Address address;
  while (from.next(address)) to.add(address);
}

// The addresses of a lookup, one after the other, and what they tell beside that.
class AddrinfoList {
 public:
  AddrinfoList(const addrinfo* first, LookupFamilies families)
      : next_(first), families_(families) {}

  bool next(Address& out) {
    for (; next_ != nullptr; next_ = next_->ai_next) {
      Endpoint endpoint;
      if (next_->ai_addr == nullptr ||
          !read_sockaddr(next_->ai_addr, next_->ai_addrlen, endpoint)) {
        continue;
      }
      // An AF_INET6 lookup with AI_V4MAPPED tells of IPv4 as well, when it answers with it.
      if (endpoint.address.is_ipv4()) families_.ipv4 = true;
      port_ = ntohs(endpoint.port);
      out = endpoint.address;
      next_ = next_->ai_next;
      return true;
    }
    return false;
  }
  [[nodiscard]] LookupFamilies families() const { return families_; }
  [[nodiscard]] std::uint16_t port() const { return port_; }

 private:
  const addrinfo* next_;
  LookupFamilies families_;
  std::uint16_t port_ = 0;
};

class HostentList {
 public:
  explicit HostentList(const hostent* entry)
      : family_(entry->h_addrtype), next_(entry->h_addr_list) {}

  bool next(Address& out) {
    if (next_ == nullptr || *next_ == nullptr) return false;
    out = family_ == AF_INET ? address_from_ipv4(*next_) : address_from_ipv6(*next_, 0);
    ++next_;
    return true;
  }
  [[nodiscard]] LookupFamilies families() const {
    return {family_ == AF_INET, family_ == AF_INET6};
  }
  [[nodiscard]] static std::uint16_t port() { return 0; }

 private:
  int family_;
  char* const* next_;
};

// Most lookups tell what was known: these take no lock, no signal mask and no memory. The list is
// at its end afterwards, or where it differs.
template <typename List>
bool is_known(const char* host, Look look, List& list, std::size_t& count) {
  // Whether a number is one of a name's is found out anew each time.
  if (look != Look::kName && any_found_name()) return false;
  const auto next = [](HostTable::Answer& answer, Address& out) {
    List& from = *static_cast<List*>(answer.source);
    const bool is_one = from.next(out);
    answer.families = from.families();
    answer.port = from.port();
    return is_one;
  };
  HostTable::Answer answer{next, &list};
  const bool known = host_table().knows(host, answer);
  count = answer.count;
  return known;
}

template <typename List>
void learn(const char* host, List list, MayWait may_wait) {
  const Look look = look_at(host);
  List walked = list;
  std::size_t count = 0;
  if (!reports_every_lookup() && is_known(host, look, walked, count)) {
    const bool is_name = look == Look::kName || (look == Look::kEither && !is_numeric(host));
    if (is_name) note_found_name(host, walked.port());
    if (count > 1) refresh_memory();
    return;
  }
  const ErrnoKept kept;
  Answer answer;
  gather(list, answer);
  answer.learn(host, is_numeric(host), list.families(), list.port(), may_wait);
}

}  // namespace

void observe_addrinfo(const char* node, const addrinfo* hints, const addrinfo* result,
                      MayWait may_wait) {
  if (node == nullptr || !active()) return;
  // A number may be looked up to be bound to. (With a name the flag means nothing, and socat gives
  // it for what it connects to.)
  const bool is_passive = hints != nullptr && (hints->ai_flags & AI_PASSIVE) != 0;
  if (is_passive && is_numeric(node)) return;
  const int family = hints != nullptr ? hints->ai_family : AF_UNSPEC;
  learn(node, AddrinfoList(result, {family != AF_INET6, family != AF_INET}), may_wait);
}

void observe_request(const gaicb* request, MayWait may_wait) {
  observe_addrinfo(request->ar_name, request->ar_request, request->ar_result, may_wait);
}

void observe_hostent(const char* name, const hostent* entry, MayWait may_wait) {
  if (name == nullptr || entry == nullptr || !active()) return;
  learn(name, HostentList(entry), may_wait);
}

void observe_dns_answer(DnsAnswer& answer) {
  if (!active()) return;
  NameBuffer buffer;
  const DnsQuestion& question = answer.question();
  const std::string_view name = text_of_name(question.name, buffer);
  if (name.empty()) return shut_addresses(answer);
  buffer[name.size()] = '\0';
  const ErrnoKept kept;
  Answer gathered;
  gather(answer, gathered);
  const bool is_ipv4 = question.type == DnsType::kA;
  gathered.learn(buffer.data(), is_numeric(name), {is_ipv4, !is_ipv4}, 0, MayWait::kNo);
}

void shut_addresses(DnsAnswer& answer) {
  if (!active()) return;
  const ErrnoKept kept;
  Answer gathered;
  gather(answer, gathered);
  gathered.shut();
}

}  // namespace nextaddr
