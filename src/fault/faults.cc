#include "fault/faults.h"

#include <netdb.h>
#include <netinet/in.h>

#include <cerrno>
#include <cstring>

#include "config.h"
#include "fault/injection.h"
#include "fault/run_counters.h"
#include "log/report.h"
#include "os/libc.h"
#include "process/process.h"

namespace nextaddr {
namespace {

constinit FaultRules rules{};
constinit bool connect_rules = false;
constinit bool lookup_rules = false;

std::string_view copy(std::string_view text, NameBuffer& buffer) {
  const std::size_t size = text.size() < buffer.size() ? text.size() : buffer.size();
  std::memcpy(buffer.data(), text.data(), size);
  return {buffer.data(), size};
}

// True when test(host, position) is true of some host that has this address.
template <typename Test>
bool some_holder(const Address& address, Test test) {
  return host_table().any_holder(
      address,
      [](void* context, std::string_view host, std::size_t position) {
        return (*static_cast<Test*>(context))(host, position);
      },
      &test);
}

Fault draw(std::size_t rule) { return rules.draw(rule, run()->faults, seed()); }

FaultAction draw_lookup_fault(const char* name) {
  const bool counts = active() && lookup_rules && owns_memory();
  if (!counts || name == nullptr || is_numeric(name)) return FaultAction::kNone;
  ++run()->asked;
  const std::size_t rule = rules.rule_for_lookup(name);
  if (rule == FaultRules::kNoRule) return FaultAction::kNone;
  const Fault fault = draw(rule);
  if (fault.action != FaultAction::kNone) report_fault(rules.text(rule), fault, name, nullptr);
  // glibc leaves errno so.
  if (fault.action == FaultAction::kTryAgain) errno = EAGAIN;
  return fault.action;
}

}  // namespace

FaultSyntaxError load_faults() {
  FaultSyntaxError error;
  if (rules.parse(config().faults, error)) {
    connect_rules = run() != nullptr && rules.has_connect_rules();
    lookup_rules = run() != nullptr && rules.has_lookup_rules();
  }
  return error;
}

void report_unmatched_faults() {
  if (rules.size() == 0 || sandbox() != Sandbox::kNone || !ends_run()) return;
  if (config().run_file == nullptr && run()->asked.load(std::memory_order_relaxed) == 0) return;
  if (rules.has_chances()) report_seed(seed());
  for (std::size_t i = 0; i < rules.size(); ++i) {
    if (run()->faults.matched[i].load(std::memory_order_relaxed) == 0) {
      report_unmatched(rules.text(i));
    }
  }
}

bool connects_have_faults() { return connect_rules; }

namespace {

// The fault of an attempt. A fault that `can_be_made` denies is reported as a problem, and none is
// made.
template <typename Test>
Fault draw_fault_of_attempt(const Address& address, const Endpoint& requested, Test can_be_made) {
  ++run()->asked;
  NameBuffer buffer{};
  std::string_view host;
  const std::size_t rule = rules.rule_for_connect(address, ntohs(requested.port), [&](auto covers) {
    return some_holder(address, [&](std::string_view name, std::size_t position) {
      if (!covers(name, position)) return false;
      host = copy(name, buffer);
      return true;
    });
  });
  if (rule == FaultRules::kNoRule) return {};
  const Fault fault = draw(rule);
  if (fault.action == FaultAction::kNone) return fault;
  if (!can_be_made(fault)) {
    report_problem("cannot be made on this socket: fault ", rules.text(rule));
    return {};
  }
  if (host.empty()) {
    some_holder(address, [&](std::string_view name, std::size_t) {
      host = copy(name, buffer);
      return true;
    });
  }
  Endpoint to = requested;
  to.address = address;
  report_fault(rules.text(rule), fault, host, &to);
  return fault;
}

}  // namespace

Fault draw_fault(int fd, const Address& address, const Endpoint& requested) {
  if (!connect_rules || !owns_memory() || !begins_attempt(fd)) return {};
  lift_fault(fd);
  return draw_fault_of_attempt(address, requested,
                               [&](const Fault& fault) { return prepare_fault(fd, fault); });
}

Fault draw_fault_of_probe(const Address& address, const Endpoint& requested) {
  if (!connect_rules || !owns_memory()) return {};
  return draw_fault_of_attempt(address, requested, [](const Fault&) { return true; });
}

std::optional<int> fault_of_getaddrinfo(const char* name) {
  switch (draw_lookup_fault(name)) {
    case FaultAction::kNxdomain:
      return EAI_NONAME;
    case FaultAction::kTryAgain:
      return EAI_AGAIN;
    default:
      return {};
  }
}

std::optional<int> fault_of_gethostbyname(const char* name) {
  switch (draw_lookup_fault(name)) {
    case FaultAction::kNxdomain:
      return HOST_NOT_FOUND;
    case FaultAction::kTryAgain:
      return TRY_AGAIN;
    default:
      return {};
  }
}

}  // namespace nextaddr
