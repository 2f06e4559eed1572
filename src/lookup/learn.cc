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

// Gathers the addresses of one answer. Those that there is no room for, or no memory at all, are
// failed over no more, because it would be forgotten whose they are.
class Answer {
 public:
  void add(const Address& address) {
    if (list_.get() == nullptr || !list_.get()->add(address)) host_table().shut(address);
  }

  void shut() const {
    if (list_.get() != nullptr) host_table().shut(*list_.get());
  }

  void learn(const char* host, LookupFamilies families, std::uint16_t port, MayWait may_wait) {
    if (!owns_memory() || list_.get() == nullptr || list_.get()->size() == 0) return;
    AddressList& addresses = *list_.get();
    const bool numeric = is_numeric(host);
    if (numeric) may_wait = MayWait::kNo;
    if (numeric && addresses.size() == 1 && repeats_found_address(addresses[0], port)) {
      return report_debug("takes for that of a name found just now the number ", host);
    }
    bool learned = false;
    {
      const TableLock lock(host_table(), may_wait);
      learned = lock.held() && host_table().learn(host, addresses, families, config().filter, port);
    }
    if (!learned) host_table().shut(addresses);
    if (!numeric) note_found_name(host, port);
    if (learned && addresses.size() > 1) refresh_memory();
    report_debug(learned ? "remembers the addresses of " : "cannot remember the addresses of ",
                 host);
  }

 private:
  const BorrowedList list_;
};

void gather(DnsAnswer& from, Answer& to) {
  Address address;
  while (from.next(address)) to.add(address);
}

}  // namespace

void observe_addrinfo(const char* node, const addrinfo* hints, const addrinfo* result,
                      MayWait may_wait) {
  if (node == nullptr || !active()) return;
  // A number that is looked up to be bound to. (With a name the flag means nothing, and socat gives
  // it for what it connects to.)
  const bool is_passive = hints != nullptr && (hints->ai_flags & AI_PASSIVE) != 0;
  if (is_passive && is_numeric(node)) return;
  const int family = hints != nullptr ? hints->ai_family : AF_UNSPEC;
  const ErrnoKept kept;
  Answer answer;
  in_port_t port = 0;
  LookupFamilies families{family != AF_INET6, family != AF_INET};
  for (const addrinfo* entry = result; entry != nullptr; entry = entry->ai_next) {
    Endpoint endpoint;
    if (entry->ai_addr == nullptr || !read_sockaddr(entry->ai_addr, entry->ai_addrlen, endpoint)) {
      continue;
    }
    // An AF_INET6 lookup with AI_V4MAPPED tells of IPv4 as well, when it answers with it.
    if (endpoint.address.is_ipv4()) families.ipv4 = true;
    port = endpoint.port;
    answer.add(endpoint.address);
  }
  answer.learn(node, families, ntohs(port), may_wait);
}

void observe_request(const gaicb* request, MayWait may_wait) {
  observe_addrinfo(request->ar_name, request->ar_request, request->ar_result, may_wait);
}

void observe_hostent(const char* name, const hostent* entry, MayWait may_wait) {
  if (name == nullptr || entry == nullptr || !active()) return;
  const ErrnoKept kept;
  Answer answer;
  for (char* const* bytes = entry->h_addr_list; bytes != nullptr && *bytes != nullptr; ++bytes) {
    const Address address =
        entry->h_addrtype == AF_INET ? address_from_ipv4(*bytes) : address_from_ipv6(*bytes, 0);
    answer.add(address);
  }
  answer.learn(name, {entry->h_addrtype == AF_INET, entry->h_addrtype == AF_INET6}, 0, may_wait);
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
  gathered.learn(buffer.data(), {is_ipv4, !is_ipv4}, 0, MayWait::kNo);
}

void shut_addresses(DnsAnswer& answer) {
  if (!active()) return;
  const ErrnoKept kept;
  Answer gathered;
  gather(answer, gathered);
  gathered.shut();
}

}  // namespace nextaddr
