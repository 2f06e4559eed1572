#include "log/report.h"

#include <netinet/in.h>
#include <unistd.h>

#include <atomic>

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
  explicit Report(std::string_view event) : line_(the_line_.get()), json_(line_) {
    if (is_json()) {
      json_.begin();
      json_.add_time("time", wall_ms());
      json_.add("pid", static_cast<std::uint64_t>(getpid()));
      json_.add("program", program());
      json_.add("event", event);
    } else {
      line_ << "nextaddr: " << program() << "[" << static_cast<std::uint64_t>(getpid()) << "] ";
    }
  }
  ~Report() {
    if (is_json()) json_.end();
    write_to_log(line_);
  }
  Report(const Report&) = delete;
  Report& operator=(const Report&) = delete;

  static bool is_json() { return config().log_json; }
  Line& text() { return line_; }
  static NameBuffer& room_for_name() { return TheLine::name(); }
  JsonObject& json() { return json_; }

 private:
  const ErrnoKept errno_kept_;
  const TheLine the_line_;
  Line& line_;
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

class ConnectReport {
 public:
  ConnectReport(const DestinationList& list, const Endpoint& requested, const AttemptLog& log,
                int error, std::uint64_t took_ms)
      : list_(list), requested_(requested), log_(log), error_(error), took_ms_(took_ms) {
    log.for_each([&](const AttemptLog::Attempt& attempt) { last_ = attempt; },
                 [&](const AttemptLog::Attempt& attempt) { last_ = attempt; });
  }

  void write(Line& line, NameBuffer& host) const {
    line << host_table().host_name(list_, host) << ":" << port();
    std::string_view separator = " ";
    const auto add = [&](const AttemptLog::Attempt& attempt) {
      line << separator;
      separator = ", ";
      line << address(attempt) << " " << outcome_word(attempt.error);
      if (attempt.error != kParked) line << " " << std::uint64_t{attempt.took_ms} << " ms";
      if (attempt.fault.action != FaultAction::kNone) line << " (fault)";
    };
    log_.for_each(add, [&](const AttemptLog::Attempt& attempt) {
      if (log_.left_out() > 0) line << ", " << std::uint64_t{log_.left_out()} << " more";
      add(attempt);
    });
    if (error_ != 0) line << ": all failed, " << error_name(error_);
  }

  void write(JsonObject& object, NameBuffer& host) const {
    object.add("host", host_table().host_name(list_, host));
    object.add("port", port());
    object.add("asked", requested_.address);
    if (error_ == 0) {
      object.add("used", address(last_));
      object.add_null("error");
    } else {
      object.add_null("used");
      object.add("error", error_name(error_));
    }
    object.add_flag("failover", error_ == 0 && address(last_) != requested_.address);
    object.add("total_ms", took_ms_);
    if (log_.left_out() > 0) object.add("attempts_left_out", std::uint64_t{log_.left_out()});
    object.begin_array("attempts");
    const auto add = [&](const AttemptLog::Attempt& attempt) {
      object.next_object();
      object.add("address", address(attempt));
      object.add("outcome", outcome_word(attempt.error));
      if (is_failure(attempt.error)) {
        object.add("error", error_name(attempt.error));
      } else {
        object.add_null("error");
      }
      object.add("ms", std::uint64_t{attempt.took_ms});
      if (attempt.fault.action != FaultAction::kNone) {
        object.add("fault", action_word(attempt.fault));
      }
    };
    log_.for_each(add, add);
    object.end_array();
  }

 private:
  [[nodiscard]] std::uint64_t port() const { return ntohs(requested_.port); }
  [[nodiscard]] Address address(const AttemptLog::Attempt& attempt) const {
    // The requested address needs no list, which may be forgotten, or have nowhere else to go.
    if (attempt.position == list_.requested) return requested_.address;
    Address found;
    return host_table().address_at(list_, attempt.position, found) ? found : Address{};
  }

  const DestinationList& list_;
  const Endpoint& requested_;
  const AttemptLog& log_;
  int error_;
  std::uint64_t took_ms_;
  AttemptLog::Attempt last_{};
};

}  // namespace

void report_connect(const DestinationList& list, const Endpoint& requested, const AttemptLog& log,
                    int error, std::uint64_t took_ms) {
  if (!logs(LogLevel::kInfo)) return;
  const ConnectReport connect(list, requested, log, error, took_ms);
  Report report("connect");
  if (Report::is_json()) {
    connect.write(report.json(), Report::room_for_name());
  } else {
    connect.write(report.text(), Report::room_for_name());
  }
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
