#include "log/report.h"

#include <netinet/in.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "config.h"
#include "engine/json.h"
#include "engine/line.h"
#include "engine/outcome.h"
#include "log/log.h"
#include "os/clock.h"
#include "os/errno_kept.h"
#include "os/signals.h"
#include "process/process.h"

namespace nextaddr {
namespace {

bool logs(LogLevel level) { return config().log_level >= level; }

std::string_view program() {
  // The launcher has this process report what a run came to: it is no program of the command.
  return config().ends_run ? "nextaddr" : program_name();
}

// The line that is being made, and a host name for it, of one thread at a time: stacks may have no
// room for them. `holder_` is the process id of that thread; 0: nobody. An id that is not this
// process's is left from before a fork.
class TheLine {
 public:
  TheLine() {
    const auto own = static_cast<std::uint32_t>(getpid());
    for (;;) {
      std::uint32_t holder = 0;
      if (holder_.compare_exchange_strong(holder, own, std::memory_order_acquire)) break;
      if (holder != own && holder_.compare_exchange_strong(holder, own)) break;
      sleep_briefly();
    }
    line_.clear();
  }
  ~TheLine() { holder_.store(0, std::memory_order_release); }
  TheLine(const TheLine&) = delete;
  TheLine& operator=(const TheLine&) = delete;

  static void begin_child() { holder_.store(0, std::memory_order_relaxed); }

  static Line& get() { return line_; }
  static NameBuffer& name() { return name_; }

 private:
  // A signal handler that came while its thread has the line would wait for itself.
  const Uninterrupted uninterrupted_;
  static constinit std::atomic<std::uint32_t> holder_;
  static constinit Line line_;
  static constinit NameBuffer name_;
};

constinit std::atomic<std::uint32_t> TheLine::holder_{0};
constinit Line TheLine::line_;
constinit NameBuffer TheLine::name_{};

// One line about one event, in the format that is wanted: what is added to text() or json() follows
// its beginning, and it is written at the end of its scope.
class Report {
 public:
  explicit Report(std::string_view event) : json_(text()) {
    if (is_json()) {
      json_.begin();
      json_.add_time("time", wall_ms());
      json_.add("pid", static_cast<std::uint64_t>(getpid()));
      json_.add("program", program());
      json_.add("event", event);
    } else {
      text() << "nextaddr: " << program() << "[" << static_cast<std::uint64_t>(getpid()) << "] ";
    }
  }
  ~Report() {
    if (is_json()) json_.end();
    write_to_log(text());
  }
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;

  static bool is_json() { return config().log_json; }
  static Line& text() { return TheLine::get(); }
  static NameBuffer& room_for_name() { return TheLine::name(); }
  JsonObject& json() { return json_; }
  template <typename Content>
  void add(const Content& content) {
    if (is_json()) {
      content.write(json_, room_for_name());
    } else {
      content.write(text(), room_for_name());
    }
  }

 private:
  const ErrnoKept errno_kept_;
  const TheLine the_line_;
  JsonObject json_;
};

void report_message(std::string_view event, std::string_view what, std::string_view subject) {
  Report report(event);
  if (Report::is_json()) {
    report.json().add("message", what);
    report.json().add("subject", subject);
  } else {
    report.text() << what << subject;
  }
}

// The first host that has the address: a view of `buffer`, empty when there is none. Not inlined:
// the report of a failover would need its room on the stack, too.
__attribute__((noinline, cold)) std::string_view name_of_holder(const Address& address,
                                                                NameBuffer& buffer) {
  struct Found {
    NameBuffer& buffer;
    std::size_t size;
  } found{buffer, 0};
  host_table().any_holder(
      address,
      [](void* context, std::string_view host, std::size_t) {
        Found& into = *static_cast<Found*>(context);
        into.size = std::min(host.size(), into.buffer.size());
        std::memcpy(into.buffer.data(), host.data(), into.size);
        return true;
      },
      &found);
  return {buffer.data(), found.size};
}

class ConnectReport {
 public:
  ConnectReport(const DestinationList& list, const Endpoint& requested, const AttemptLog& log,
                int error, std::uint64_t took_ms)
      : list_(list), requested_(requested), log_(log), error_(error), took_ms_(took_ms) {
    const auto note = [&](const AttemptLog::Attempt& attempt) { last_ = attempt.position; };
    log.for_each(note, note);
  }

  void write(Line& line, NameBuffer& buffer) const {
    line << host(buffer) << ":" << port();
    std::string_view separator = " ";
    const auto add = [&](const AttemptLog::Attempt& attempt) {
      line << separator;
      separator = ", ";
      line << address(attempt.position) << " " << outcome_word(attempt.error);
      if (attempt.error != kParked) line << " " << std::uint64_t{attempt.took_ms} << " ms";
      if (attempt.fault.action != FaultAction::kNone) line << " (fault)";
    };
    log_.for_each(add, [&](const AttemptLog::Attempt& attempt) {
      if (log_.left_out() > 0) line << ", " << std::uint64_t{log_.left_out()} << " more";
      add(attempt);
    });
    if (error_ != 0 && log_.attempts() > 1) line << ": all failed, " << error_name(error_);
  }

  void write(JsonObject& object, NameBuffer& buffer) const {
    object.add("host", host(buffer));
    object.add("port", port());
    object.add("asked", requested_.address);
    if (error_ == 0) {
      object.add("used", address(last_));
    } else {
      object.add_null("used");
    }
    add_error(object, error_);
    object.add_flag("failover", error_ == 0 && address(last_) != requested_.address);
    object.add("total_ms", took_ms_);
    if (log_.left_out() > 0) object.add("attempts_left_out", std::uint64_t{log_.left_out()});
    object.begin_array("attempts");
    const auto add = [&](const AttemptLog::Attempt& attempt) {
      object.next_object();
      object.add("address", address(attempt.position));
      object.add("outcome", outcome_word(attempt.error));
      add_error(object, attempt.error);
      object.add("ms", std::uint64_t{attempt.took_ms});
      if (attempt.fault.action != FaultAction::kNone) {
        object.add("fault", action_word(attempt.fault));
      }
    };
    log_.for_each(add, add);
    object.end_array();
  }

 private:
  static void add_error(JsonObject& object, int error) {
    if (is_failure(error)) {
      object.add("error", error_name(error));
    } else {
      object.add_null("error");
    }
  }
  std::string_view host(NameBuffer& buffer) const {
    return list_.record != 0 ? host_table().host_name(list_, buffer)
                             : name_of_holder(requested_.address, buffer);
  }
  [[nodiscard]] std::uint64_t port() const { return ntohs(requested_.port); }
  [[nodiscard]] Address address(std::size_t position) const {
    // The requested address needs no list, which may be forgotten, or have nowhere else to go.
    if (position == list_.requested) return requested_.address;
    Address found;
    return host_table().address_at(list_, position, found) ? found : Address{};
  }

  const DestinationList& list_;
  const Endpoint& requested_;
  const AttemptLog& log_;
  int error_;
  std::uint64_t took_ms_;
  std::size_t last_ = 0;  // position of the last attempt
};

}  // namespace

void report_connect(const DestinationList& list, const Endpoint& requested, const AttemptLog& log,
                    int error, std::uint64_t took_ms) {
  if (!logs(LogLevel::kInfo)) return;
  Report report("connect");
  report.add(ConnectReport(list, requested, log, error, took_ms));
}

// Not inlined, for the same reason as name_of_holder().
__attribute__((noinline, cold)) void report_only_attempt(const Endpoint& requested,
                                                         const Fault& fault, int error,
                                                         std::uint64_t took_ms) {
  if (!reports_every_connect()) return;
  NameBuffer buffer;
  if (name_of_holder(requested.address, buffer).empty()) return;
  AttemptLog log;
  log.begin(0, 0, fault);
  log.end(error, took_ms);
  Report report("connect");
  report.add(ConnectReport({}, requested, log, error, took_ms));
}

bool reports_every_connect() { return logs(LogLevel::kDebug); }

bool reports_every_lookup() { return logs(LogLevel::kDebug); }

void report_lookup(std::string_view host, const AddressList& addresses) {
  if (!reports_every_lookup()) return;
  // How many addresses are told: a line has room for so many and for the longest names.
  constexpr std::size_t kMostTold = 32;
  const std::size_t told = std::min(addresses.size(), kMostTold);
  const std::uint64_t left_out = addresses.size() - told;
  Report report("lookup");
  if (Report::is_json()) {
    JsonObject& object = report.json();
    object.add("host", host);
    object.begin_array("addresses");
    for (std::size_t i = 0; i < told; ++i) object.add_element(addresses[i]);
    object.end_array();
    if (left_out > 0) object.add("addresses_left_out", left_out);
    return;
  }
  Line& line = report.text();
  line << "lookup " << host << ":";
  for (std::size_t i = 0; i < told; ++i) line << (i == 0 ? " " : ", ") << addresses[i];
  if (left_out > 0) line << ", " << left_out << " more";
}

void report_fault(std::string_view rule, const Fault& fault, std::string_view host,
                  const Endpoint* to) {
  if (!logs(LogLevel::kInfo)) return;
  Report report("fault");
  if (Report::is_json()) {
    JsonObject& object = report.json();
    object.add("rule", rule);
    object.add("action", action_word(fault));
    object.add("host", host);
    if (to == nullptr) return;
    object.add("port", std::uint64_t{ntohs(to->port)});
    object.add("address", to->address);
    return;
  }
  Line& line = report.text();
  line << "fault " << rule << ": " << action_word(fault) << " ";
  if (to == nullptr) {
    line << host;
    return;
  }
  if (!host.empty()) line << host << ":" << std::uint64_t{ntohs(to->port)} << " ";
  line << to->address;
  if (host.empty()) line << ":" << std::uint64_t{ntohs(to->port)};
}

void begin_report_in_child() { TheLine::begin_child(); }

void report_unmatched(std::string_view rule) {
  if (!logs(LogLevel::kError)) return;
  Report report("unmatched");
  if (Report::is_json()) {
    report.json().add("rule", rule);
  } else {
    report.text() << "fault " << rule << ": never matched";
  }
}

void report_seed(std::uint64_t seed) {
  if (!logs(LogLevel::kInfo)) return;
  Report report("seed");
  if (Report::is_json()) {
    report.json().add("seed", seed);
  } else {
    report.text() << "chances were drawn with NEXTADDR_SEED=" << seed;
  }
}

void report_bad_faults(const FaultSyntaxError& error) {
  if (!logs(LogLevel::kError)) return;
  Report report("problem");
  const std::uint64_t column = error.column;
  if (Report::is_json()) {
    report.json().add("message", "NEXTADDR_FAULTS ignored");
    report.json().add("subject", error.reason);
    report.json().add("column", column);
  } else {
    report.text() << "NEXTADDR_FAULTS ignored: column " << column << ": " << error.reason;
  }
}

void report_problem(std::string_view what, std::string_view subject) {
  if (logs(LogLevel::kError)) report_message("problem", what, subject);
}

void report_debug(std::string_view what, std::string_view subject) {
  if (logs(LogLevel::kDebug)) report_message("debug", what, subject);
}

}  // namespace nextaddr
