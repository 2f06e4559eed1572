#include "connect/connect_operation.h"

#include <netinet/in.h>

#include <algorithm>
#include <cerrno>

#include "config.h"
#include "connect/ipv6_only.h"
#include "connect/walk.h"
#include "fault/faults.h"
#include "fault/injection.h"
#include "fault/run_counters.h"
#include "log/report.h"
#include "memory/memory.h"
#include "os/clock.h"
#include "os/deafness.h"
#include "os/libc.h"
#include "os/own_connections.h"
#include "os/pin.h"
#include "os/socket.h"
#include "process/process.h"

namespace nextaddr {

using Action = ConnectAttempts::Action;
using Lesson = ConnectAttempts::Lesson;
using State = ConnectOperation::State;

namespace {

// Weeks are forever.
std::uint32_t milliseconds(const timeval& time) {
  constexpr std::int64_t kMost = INT32_MAX;
  const std::int64_t exact =
      std::int64_t{1000} * std::min<std::int64_t>(time.tv_sec, kMost) + (time.tv_usec + 999) / 1000;
  return static_cast<std::uint32_t>(std::min(exact, kMost));
}

// A connect(2) that does not wait, and fails so, has found no route: the socket is as before.
bool leaves_untouched(int outcome) {
  return outcome == ENETUNREACH || outcome == EHOSTUNREACH || outcome == EINVAL ||
         outcome == EACCES;
}

// A port that the program has learnt from the server it asks, and that is this server's alone: a
// connection to another port of it is open and has had something to say, and nothing else accounts
// for the port. (Had that been said only since this connect began, it would look the same: then the
// connect stays where it need not.)
bool is_learnt_port(const DestinationList& list, const Endpoint& requested) {
  constexpr std::uint16_t kFirstUnreserved = 1024;
  const std::uint16_t port = ntohs(requested.port);
  if (port < kFirstUnreserved || host_table().names_port(list, port) ||
      is_first_port(requested.address, requested.port)) {
    return false;
  }
  const auto has_spoken = [](void* context, const OwnConnection& connection) {
    const auto& asked = *static_cast<const Endpoint*>(context);
    return connection.peer.address == asked.address && connection.peer.port != asked.port &&
           has_received(connection.fd);
  };
  Endpoint asked = requested;
  return may_have_connection(has_spoken, &asked);
}

}  // namespace

// One step on the program's socket, pinned from its begin to its end.
class ConnectOperation::Step {
 public:
  explicit Step(ConnectOperation& operation) : pin_(operation.fd_, operation.cookie_) {
    operation.socket_ = pin_.socket();
  }
  // False: the descriptor has another socket by now, or none.
  explicit operator bool() const { return pin_.socket() >= 0; }

 private:
  const Pin pin_;
};

bool ConnectOperation::prepare(int fd, const Endpoint& requested, const ProgramSettings& settings,
                               bool waits) {
  fd_ = fd;
  cookie_ = socket_cookie(fd);
  requested_ = requested;
  current_ = requested.address;
  settings_ = settings;
  began_us_ = now_us();
  attempts_.begin(waits, began_us_ / 1000, shortest_attempt_delay());
  requested_fault_ = {};
  error_ = 0;
  asked_ = 0;
  waits_ = waits;
  instead_ = was_given_ = untouched_ = no_route_ = interrupted_ = false;
  ipv6_only_ = ipv6_only_lifted_ = false;
  steered_ = settings.is_steered;
  return cookie_ != 0;
}

State ConnectOperation::elsewhere(bool to_be_probed, bool was_given) {
  const Step step(*this);
  if (!step) return carry_out(attempts_.lost_socket());
  instead_ = untouched_ = true;
  was_given_ = was_given;
  const State state = carry_out(attempts_.elsewhere(socket_phase(socket_)));
  if (state != State::kLeft) walk::note_skipped(requested_.address, requested_.port);
  if (to_be_probed && state != State::kLeft && !connects_have_faults() && !steered_) {
    probes::Handle handle = probe(requested_.address);
    probes::let_linger(handle);
    probes::release(handle);
  }
  return state;
}

State ConnectOperation::started(int outcome, const Fault& fault) {
  const Step step(*this);
  if (!step) return carry_out(attempts_.lost_socket());
  requested_fault_ = fault;
  untouched_ = !waits_ && leaves_untouched(outcome);
  no_route_ = outcome == EHOSTUNREACH && segments_sent(socket_) == 0;
  const ConnectAttempts::Attempt first{outcome, attempts_.began_ms(), {}, fault};
  return carry_out(attempts_.started(first, now_ms()));
}

State ConnectOperation::ended(int error) {
  const Step step(*this);
  if (!step) return carry_out(attempts_.lost_socket());
  return carry_out(attempts_.ended(error, now_ms()));
}

State ConnectOperation::advance() {
  const Step step(*this);
  if (!step) return carry_out(attempts_.lost_socket());
  look_at_probes();
  return carry_out(attempts_.seen(socket_phase(socket_), now_ms()));
}

bool ConnectOperation::has_failed() const {
  return nextaddr::has_failed(socket_phase(fd_)) && owns_socket();
}

bool ConnectOperation::deliver_truth(int& error) {
  const Step step(*this);
  if (!step || !nextaddr::has_failed(socket_phase(socket_))) return false;
  error = pending_error(socket_);
  // What connect(2) answers when somebody else has read the error.
  carry_out(attempts_.told(error != 0 ? error : ECONNABORTED, now_ms()));
  return true;
}

void ConnectOperation::resume(bool waits, const timeval& send_timeout) {
  waits_ = waits;
  settings_.send_timeout = send_timeout;
  attempts_.resumed(waits, waits ? milliseconds(send_timeout) : 0, now_ms());
}

bool ConnectOperation::leave_to_kernel() {
  const Step step(*this);
  if (!step) return true;
  // The same fault once more, not the next one of its rule. Nobody would end a delay.
  if (requested_fault_.action == FaultAction::kDelay) requested_fault_ = {};
  const int outcome = attempt(requested_.address, requested_fault_);
  if (outcome == 0 || outcome == EINPROGRESS || outcome == EINTR) return true;
  error_ = outcome;
  return false;
}

bool ConnectOperation::catch_up(const ConnectOperation& newer) {
  if (newer.cookie_ != cookie_ || newer.requested_ != requested_) return false;
  // Its descriptor is not ours, and of the program's socket it has nothing to tell.
  const int fd = fd_;
  const ProgramSettings settings = settings_;
  let_go();
  *this = newer;
  // Whatever another process has written.
  asked_ = std::min<std::uint8_t>(asked_, static_cast<std::uint8_t>(probes_.size()));
  attempts_.bound();
  fd_ = fd;
  settings_ = settings;
  return true;
}

int ConnectOperation::mark_connected() {
  const Step step(*this);
  // A reset since is for the program's first read or write, not for us to take.
  if (step && socket_phase(socket_) == SocketPhase::kEnded) return 0;
  sockaddr_storage destination;
  const socklen_t length = write_sockaddr(current_, requested_, destination);
  const int result =
      libc::connect(socket_, reinterpret_cast<const sockaddr*>(&destination), length);
  return result != 0 && errno == EISCONN ? 0 : result;
}

bool ConnectOperation::owns_socket() const { return socket_cookie(fd_) == cookie_; }

// ---- What the machine asks for ----

State ConnectOperation::carry_out(Action action) {
  using Kind = Action::Kind;
  for (;;) {
    switch (action.kind) {
      case Kind::kPlan:
        action = plan();
        break;
      case Kind::kReadError:
        action = attempts_.error_read(pending_error(socket_), now_ms());
        break;
      case Kind::kConnect:
        action = connect_to(action);
        break;
      case Kind::kRelease:
        action = release();
        break;
      case Kind::kProbe:
        action = ask(action);
        break;
      case Kind::kDeliver:
        // It is next connected to the requested address, by leave_to_kernel() or the program.
        if (!take_back_for(requested_.address)) {
          action = attempts_.seen(SocketPhase::kConnected, now_ms());
          break;
        }
        if (!untouched_) restore();
        admit(requested_.address);
        remember(action);
        if (connects_have_faults()) lift_fault(socket_);
        if (attempts_.log().attempts() > 1) {
          host_table().note_exhausted(list_, own_pid(), static_cast<std::uint32_t>(now_ms()));
        }
        conclude();
        return state();
      case Kind::kConnected:
        conclude();
        return state();
      case Kind::kLeave:
      case Kind::kTold:
        remember(action);
        error_ = attempts_.error();
        let_go();
        if (action.kind == Kind::kTold) {
          if (connects_have_faults()) lift_fault(socket_);
          report();
        }
        return state();
      default:
        remember(action);
        return state();
    }
  }
}

Action ConnectOperation::plan() {
  Destinations destinations;
  const std::uint64_t now = now_ms();
  if (!owns_memory() || !is_tcp(socket_)) return attempts_.planned(destinations, {}, {}, now);
  if (!find_destinations(destinations)) {
    list_ = {};
    destinations = {};
    destinations.candidates.add(list_.requested);
  }
  ConnectAttempts::Limits limits;
  limits.attempt_delay_ms = config().attempt_delay_ms;
  limits.program_ms = waits_ ? milliseconds(settings_.send_timeout) : 0;
  limits.probes = probes::can_be_made();
  // Also with probes: perhaps one cannot be made.
  limits.kernel_ms = kernel_patience_of(socket_);
  return attempts_.planned(destinations, limits,
                           distance_of(socket_, requested_.address, requested_.port), now);
}

// False when there is no other address to ask, or the program walks a list that has just failed as
// a whole.
bool ConnectOperation::find_destinations(Destinations& out) {
  HostTable& table = host_table();
  if (!table.destinations(requested_.address, ntohs(requested_.port), config().filter, list_)) {
    return false;
  }
  if (requested_.family == AF_INET) {
    list_.candidates.drop(list_.ipv6);
  } else if (is_ipv6_only(socket_)) {
    ipv6_only_ = true;
    if (settings_.is_bound()) list_.candidates.keep(list_.ipv6);
  }
  if (!list_.candidates.has(list_.requested) || list_.candidates.count() < 2) return false;
  if (is_learnt_port(list_, requested_)) return false;
  const auto now = static_cast<std::uint32_t>(now_ms());
  if (table.walks_exhausted(list_, own_pid(), now)) {
    // A parked one has not been asked yet: the program's own connect is about to.
    if (!instead_) table.note_walked(list_, now);
    return false;
  }
  out.candidates = list_.candidates;
  out.ipv6 = list_.ipv6;
  out.requested = list_.requested;
  PositionSet lately_silent;
  find_bad_ones(socket_, table, list_, requested_.port, out, lately_silent);
  // What the program has seen of this host comes after what it has not.
  const PositionSet touched = walk::touched(table, list_, requested_.port);
  PositionSet fresh = out.candidates;
  fresh.drop(touched);
  fresh.remove(out.requested);
  const bool any_well = !out.parked.has_all(fresh);
  if (was_given_ && !any_well) {
    // Perhaps a server that is back is what the program looks for.
    fresh.drop(lately_silent);
    out.parked.drop(fresh);
  }
  // One that was silent just now is not waited for, and whom the program has seen already will do:
  // wrk tries every address, from the last to the first.
  const bool will_do = lately_silent.has(out.requested) && !any_well;
  if (!instead_ || !will_do) out.parked.add(touched);
  if (instead_) out.parked.add(list_.requested);
  return true;
}

Action ConnectOperation::connect_to(const Action& action) {
  Address next;
  // Forgotten meanwhile, after so many lookups that the table was rewritten twice.
  if (!address_at(action.position, next)) {
    remember(action);
    return attempts_.lost_address();
  }
  // To take it back raises an event, which another thread may fetch once the next attempt has
  // succeeded.
  if (!untouched_ && !take_back_for(next)) {
    return attempts_.seen(SocketPhase::kConnected, now_ms());
  }
  remember(action);
  if (!untouched_ && !restore()) return attempts_.lost_address();
  current_ = next;
  ConnectAttempts::Attempt made;
  made.began_ms = now_ms();
  made.fault = fault_for(action.position);
  if (action.position == list_.requested) requested_fault_ = made.fault;
  made.outcome = attempt(current_, made.fault);
  interrupted_ = made.outcome == EINTR;
  if (made.outcome == EINPROGRESS || interrupted_) {
    made.distance = distance_of(socket_, current_, requested_.port);
  }
  untouched_ = !waits_ && leaves_untouched(made.outcome);
  return attempts_.started(made, now_ms());
}

// The delay of the attempt under way is over: now it goes to its address.
Action ConnectOperation::release() {
  take_back(socket_, false);
  lift_fault(socket_);
  if (!settings_.put_back(socket_)) return attempts_.lost_address();
  ConnectAttempts::Attempt made;
  made.outcome = attempt(current_, {});
  interrupted_ = made.outcome == EINTR;
  return attempts_.started(made, now_ms());
}

// connect(2) that does not wait: 0, EINPROGRESS, EINTR, or an error. That of a non-blocking socket
// returns at once; a blocking one must be made to. Its SO_SNDTIMEO is asked for each time, because
// the program may set it while the connect is under way.
int ConnectOperation::attempt(const Address& to, const Fault& fault) {
  // No address of this host can be reached so: it was bound by another process, or a duplicate.
  if (!admit(to)) return ENETUNREACH;
  sockaddr_storage destination;
  const socklen_t length = write_sockaddr(to, requested_, destination);
  const auto* address = reinterpret_cast<const sockaddr*>(&destination);
  const std::uint32_t sent_before = segments_sent(socket_);
  const auto connect = [&] { return connect_with_fault(socket_, address, length, fault); };
  const int result =
      is_non_blocking(socket_) ? connect() : briefly(socket_, send_timeout(socket_), connect);
  const int outcome = result == 0 ? 0 : errno;
  no_route_ = outcome == EHOSTUNREACH && segments_sent(socket_) == sent_before;
  return outcome;
}

// Lets a socket that is for IPv6 only reach an IPv4 address, and ends that for another one. False
// when the kernel refuses. The socket has no port: it is about to be connected.
bool ConnectOperation::admit(const Address& to) {
  const bool lift = ipv6_only_ && to.is_ipv4();
  if (lift == ipv6_only_lifted_) return true;
  if (lift && !lift_ipv6_only(socket_, cookie_)) return false;
  if (!lift) set_ipv6_only_again(socket_, cookie_);
  ipv6_only_lifted_ = lift;
  return true;
}

bool ConnectOperation::address_at(std::size_t position, Address& out) const {
  if (position == list_.requested) {
    out = requested_.address;
    return true;
  }
  return host_table().address_at(list_, position, out);
}

// Ends the attempt at `current_`: the socket is as before, ready for a connect to `next`. False
// when the attempt was answered in the last moment: the socket is connected, and stays so.
bool ConnectOperation::take_back_for(const Address& next) {
  const bool leaves_ipv4 = requested_.family == AF_INET6 && current_.is_ipv4() && !next.is_ipv4();
  Deafness deafness;
  SocketPhase phase = socket_phase(socket_);
  if (phase == SocketPhase::kConnecting) {
    deafness.begin(socket_);
    phase = socket_phase(socket_);
  }
  if (phase == SocketPhase::kConnected || phase == SocketPhase::kEnded) {
    deafness.end(socket_);
    return false;
  }
  take_back(socket_, leaves_ipv4);
  deafness.end(socket_);
  return true;
}

// After it was taken back: the socket is the program's as before. False when it cannot be.
bool ConnectOperation::restore() {
  // An attempt at a link-local address has bound the socket to its device, and only who may bind
  // it again may undo that (CAP_NET_RAW).
  if (is_link_local(current_) && !unbind_device(socket_)) return false;
  return settings_.put_back(socket_);
}

// ---- Probes ----

probes::Handle ConnectOperation::probe(const Address& address) {
  // The device of a link-local address is the kernel's choice (connect/entry.h).
  return probes::ask(socket_, address, requested_, settings_, !is_link_local(current_));
}

ConnectOperation::Asked* ConnectOperation::asked_at(std::size_t position) {
  for (std::size_t i = 0; i < asked_; ++i) {
    if (probes_[i].position == position) return &probes_[i];
  }
  return nullptr;
}

// Of what is full of answers the first makes room: its fault is drawn anew, should it ever be
// asked.
ConnectOperation::Asked* ConnectOperation::place_for(std::size_t position) {
  if (Asked* asked = asked_at(position)) forget(*asked);
  for (std::size_t i = 0; asked_ == probes_.size() && i < asked_; ++i) {
    if (probes_[i].answered) forget(probes_[i]);
  }
  if (asked_ == probes_.size()) return nullptr;
  Asked& asked = probes_[asked_++];
  asked = {now_ms(), {}, {}, static_cast<std::uint16_t>(position), false, false};
  return &asked;
}

void ConnectOperation::forget(Asked& asked) {
  probes::release(asked.probe);
  asked = probes_[--asked_];
}

void ConnectOperation::let_go() {
  while (asked_ != 0) forget(probes_[asked_ - 1]);
}

Action ConnectOperation::ask(const Action& action) {
  using Probe = ConnectAttempts::Probe;
  const std::size_t position = action.position;
  Address address;
  Asked* asked = address_at(position, address) ? place_for(position) : nullptr;
  bool is_made = asked != nullptr;
  if (is_made) {
    asked->fault =
        position == list_.requested ? requested_fault_ : draw_fault_of_probe(address, requested_);
    const FaultAction fault = asked->fault.action;
    if (fault == FaultAction::kNone || fault == FaultAction::kReset) {
      asked->probe = probe(address);
      is_made = asked->probe.serial != 0;
      if (!is_made) forget(*asked);
    }
  }
  if (is_made) {
    attempts_.probing(position, distance_of(socket_, address, requested_.port), now_ms());
    // A route that is missing is found missing at once.
    look_at_probes();
  } else {
    attempts_.probed(position, Probe::kNone, 0, 0, now_ms());
  }
  return attempts_.seen(socket_phase(socket_), now_ms());
}

// As probes::look(), also of a probe that was not made because of its fault.
probes::Findings ConnectOperation::findings_of(Asked& asked) {
  using probes::State;
  const auto took = static_cast<std::uint32_t>(now_ms() - asked.began_ms);
  const probes::Findings silent{took < kProbeMs ? State::kAsking : State::kOver, 0, took};
  Address address;
  switch (asked.fault.action) {
    case FaultAction::kRefuse:
      return {State::kFailed, ECONNREFUSED, took};
    case FaultAction::kErrno:
      return {State::kFailed, static_cast<int>(asked.fault.argument), took};
    case FaultAction::kDelay:
      if (took < asked.fault.argument || !address_at(asked.position, address)) return silent;
      asked.fault = {};
      asked.probe = probe(address);
      break;
    case FaultAction::kSilent:
      return silent;
    default:
      // The connect was begun in another process, whose sockets are not here.
      if (!probes::is_here(asked.probe) && address_at(asked.position, address)) {
        asked.probe = probe(address);
      }
      break;
  }
  probes::Findings found = probes::look(asked.probe);
  // Another connect may have begun it before.
  if (found.state == State::kAsking) found.ms = std::max(found.ms, took);
  return found;
}

void ConnectOperation::look_at_probes() {
  using Probe = ConnectAttempts::Probe;
  for (std::size_t i = asked_; i-- > 0;) {
    Asked& asked = probes_[i];
    if (asked.answered) continue;
    const std::uint16_t position = asked.position;
    const probes::Findings found = findings_of(asked);
    const auto tell = [&](Probe what) {
      const Action learnt = attempts_.probed(position, what, found.error, found.ms, now_ms());
      if (!found.is_local) remember(learnt);
    };
    Address address;
    switch (found.state) {
      case probes::State::kAsking:
        if (found.ms < kSilentMs || asked.silence_told) break;
        asked.silence_told = true;
        tell(Probe::kSilent);
        break;
      case probes::State::kAnswered:
        asked.answered = true;
        probes::release(asked.probe);
        if (found.exact && !steered_ && address_at(position, address)) {
          note_rtt(socket_, address, requested_.port, std::uint64_t{1000} * found.ms);
        }
        tell(found.unsure ? Probe::kHeard : Probe::kAnswered);
        break;
      case probes::State::kFailed:
        forget(asked);
        tell(Probe::kFailed);
        break;
      case probes::State::kOver:
        forget(asked);
        tell(Probe::kOver);
        break;
    }
  }
}

// Of the attempt that the program's socket is about to make there.
Fault ConnectOperation::fault_for(std::size_t position) {
  Asked* asked = asked_at(position);
  if (asked == nullptr) return draw_fault(socket_, current_, requested_);
  Fault fault = asked->fault;
  const auto took = static_cast<std::uint32_t>(now_ms() - asked->began_ms);
  forget(*asked);
  if (!connects_have_faults()) return {};
  lift_fault(socket_);
  if (fault.action == FaultAction::kDelay) fault.argument -= std::min(fault.argument, took);
  return fault.action != FaultAction::kNone && prepare_fault(socket_, fault) ? fault : Fault{};
}

// ---- The memory, and the log ----

// What the machine has learnt, told to the memory: nothing of a socket that goes a way of its own.
void ConnectOperation::remember(const Action& action) {
  if (action.lesson == Lesson::kNothing) return;
  // By now the socket has been taken back, unless it is left in flight.
  steered_ = steered_ || is_steered(socket_);
  const bool is_of_socket = !is_planned() || action.about == attempts_.position();
  if (steered_ || (is_of_socket && no_route_)) return;
  Address address = current_;
  if (!is_of_socket && !address_at(action.about, address)) return;
  NameBuffer buffer{};
  const std::string_view host = host_table().host_name(list_, buffer);
  if (action.lesson == Lesson::kFailed) {
    return note_failure(socket_, address, requested_.port, action.silent_ms == 0, host);
  }
  note_silence(socket_, address, requested_.port, action.silent_ms, host);
  if (action.lesson == Lesson::kLeft) leave_in_silence(action, address);
}

// It may be far and not dead. So a probe asks it once more, which outlives this connect, and only
// if that is silent as well is it parked; should it answer, its distance is known from then on.
void ConnectOperation::leave_in_silence(const Action& action, const Address& left) {
  // It is silent on purpose, and what is remembered is for later connects of the same run.
  if (connects_have_faults()) return note_failure(socket_, left, requested_.port, false, {});
  Asked* asked = place_for(action.about);
  if (asked == nullptr) return;
  asked->probe = probe(left);
  if (asked->probe.serial == 0) return forget(*asked);
  if (address_memory().usable()) probes::let_linger(asked->probe);
  attempts_.probing(action.about, {}, now_ms());
}

// Its probes end with it. Who has answered none is asked last by the next connect, also of another
// process.
void ConnectOperation::note_asked_in_vain(std::uint32_t rtt_ms) {
  const std::uint32_t in_vain = in_vain_ms(config().attempt_delay_ms, rtt_ms);
  for (std::size_t i = 0; i < asked_; ++i) {
    Asked& asked = probes_[i];
    if (asked.answered || now_ms() - asked.began_ms < in_vain) continue;
    const probes::Findings found = findings_of(asked);
    Address address;
    if (found.state != probes::State::kAsking || !address_at(asked.position, address)) continue;
    NameBuffer buffer{};
    note_silence(socket_, address, requested_.port, found.ms,
                 host_table().host_name(list_, buffer));
  }
}

// The connect has come to its end, at `current_` or nowhere.
void ConnectOperation::conclude() {
  error_ = attempts_.error();
  if (error_ == 0) {
    note_connect_to(current_, requested_.port);
    if (!steered_) {
      note_success(socket_, current_, requested_.port);
      const std::uint64_t round_trip = round_trip_us(socket_);
      note_rtt(socket_, current_, requested_.port, round_trip);
      note_asked_in_vain(static_cast<std::uint32_t>(round_trip / 1000));
    }
  }
  let_go();
  if (!is_planned()) return;
  report();
  const bool elsewhere = error_ == 0 && current_ != requested_.address;
  if (elsewhere) walk::note_given(requested_.address, current_, requested_.port, fd_, cookie_);
  if (run() != nullptr && elsewhere && attempts_.log().attempts() > 1) ++run()->failovers;
}

void ConnectOperation::report() const {
  if (!is_planned() || !attempts_.has_news() || attempts_.log().attempts() < 2) return;
  report_connect(list_, requested_, attempts_.log(), error_, now_ms() - began_ms());
}

}  // namespace nextaddr
