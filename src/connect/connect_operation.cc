// Longer than other files: all steps on the program's socket are here, because each begins with
// what the one before has left.
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

// SO_SNDTIMEO in milliseconds, rounded up. What exceeds INT32_MAX, some weeks, counts as that.
std::uint32_t milliseconds(const timeval& time) {
  constexpr std::int64_t kMost = INT32_MAX;
  const std::int64_t exact =
      std::int64_t{1000} * std::min<std::int64_t>(time.tv_sec, kMost) + (time.tv_usec + 999) / 1000;
  return static_cast<std::uint32_t>(std::min(exact, kMost));
}

// True when a connect(2) that does not wait and has this outcome has found no route: the socket is
// as before.
bool leaves_untouched(int outcome) {
  return outcome == ENETUNREACH || outcome == EHOSTUNREACH || outcome == EINVAL ||
         outcome == EACCES;
}

// True for a port that the program has learnt from the server it asks, and that is this server's
// alone: a connection to another port of it is open and has had something to say, and nothing else
// accounts for the port. (Had that been said only since this connect began, it would look the same:
// then the connect stays where it need not.)
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
  instead_ = was_given_ = left_alone_ = untouched_ = no_route_ = interrupted_ = false;
  has_read_error_ = false;
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

State ConnectOperation::advance(bool error_seen) {
  const Step step(*this);
  if (!step) return carry_out(attempts_.lost_socket());
  look_at_probes();
  const SocketPhase phase = socket_phase(socket_);
  if (phase == SocketPhase::kConnecting && error_seen) {
    // An ICMP error that comes while connect(2) still has the socket (from a firewall of this
    // machine) does not end the attempt: the kernel asks again after a second. But it says POLLERR
    // meanwhile, until its queue is read, and SO_ERROR has the error, too: that stays, for a
    // program that asks by a system call of its own.
    const int error = queued_error(socket_);
    // Of an attempt that was made for the kernel to tell its error, that is up to us.
    if (error != 0 && state() == State::kTelling) {
      return carry_out(attempts_.seen(phase, attempts_.until_ms()));
    }
    if (error != 0) {
      has_read_error_ = true;
      return carry_out(attempts_.ended(error, now_ms()));
    }
  }
  return carry_out(attempts_.seen(phase, now_ms()));
}

bool ConnectOperation::has_failed() const {
  return nextaddr::has_failed(socket_phase(fd_)) && owns_socket();
}

bool ConnectOperation::deliver_truth(int& error) {
  const Step step(*this);
  if (!step || !nextaddr::has_failed(socket_phase(socket_))) return false;
  error = pending_error(socket_);
  // When somebody else has read the error, connect(2) answers ECONNABORTED.
  carry_out(attempts_.told(error != 0 ? error : ECONNABORTED, now_ms()));
  return true;
}

void ConnectOperation::resume(bool waits, const timeval& send_timeout) {
  waits_ = waits;
  settings_.send_timeout = send_timeout;
  attempts_.resumed(waits, waits ? milliseconds(send_timeout) : 0, now_ms());
}

bool ConnectOperation::have_kernel_tell() {
  if (!attempts_.can_be_had_again()) return false;
  const Step step(*this);
  if (!step) return false;
  // The fault is that of the attempt before, not the next one of its rule. A delay is left out,
  // because nobody would end it.
  if (requested_fault_.action == FaultAction::kDelay) requested_fault_ = {};
  current_ = requested_.address;
  const int outcome = attempt(current_, requested_fault_);
  if (outcome != 0 && outcome != EINPROGRESS && outcome != EINTR) {
    error_ = outcome;
    return false;
  }
  untouched_ = false;
  attempts_.telling(distance_of(socket_, current_, requested_.port), now_ms());
  return true;
}

bool ConnectOperation::catch_up(const ConnectOperation& newer) {
  if (newer.cookie_ != cookie_ || newer.requested_ != requested_) return false;
  // The number of the descriptor, and what the program has set, are known better here.
  const int fd = fd_;
  const ProgramSettings settings = settings_;
  let_go();
  *this = newer;
  // Counts that another process has written may be anything: they are brought within their arrays.
  asked_ = std::min<std::uint8_t>(asked_, static_cast<std::uint8_t>(probes_.size()));
  attempts_.bound();
  fd_ = fd;
  settings_ = settings;
  return true;
}

[[gnu::noinline]] int ConnectOperation::mark_connected() {
  const Step step(*this);
  // The error of a reset since is for the program's first read or write to take.
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
      case Kind::kWithdraw:
        if (give_up(action)) return state();
        action = attempts_.seen(SocketPhase::kConnected, now_ms());
        break;
      case Kind::kConnected:
        conclude();
        return state();
      case Kind::kLeave:
      case Kind::kTold:
        remember(action);
        error_ = attempts_.error();
        let_go();
        if (action.kind == Kind::kTold && connects_have_faults()) lift_fault(socket_);
        // A connect that is left with an error to be read has not ended yet: the program finds it.
        if (action.kind == Kind::kTold ||
            (!is_planned() && error_ != EBADF &&
             (error_ != EINPROGRESS || !nextaddr::has_failed(socket_phase(socket_))))) {
          report();
        }
        return state();
      default:
        remember(action);
        return state();
    }
  }
}

// Nobody is left to ask (Kind::kDeliver), or the kernel has not told that (kWithdraw): takes the
// socket back for the requested address, to which have_kernel_tell() or the program connects it
// next. False: the attempt was answered in the last moment, and the socket is connected.
bool ConnectOperation::give_up(const Action& action) {
  if (!take_back_for(requested_.address)) return false;
  if (!untouched_) restore();
  if (action.kind == Action::Kind::kWithdraw) return true;
  admit(requested_.address);
  remember(action);
  if (connects_have_faults()) lift_fault(socket_);
  if (attempts_.log().attempts() > 1) {
    host_table().note_exhausted(list_, own_pid(), static_cast<std::uint32_t>(now_ms()));
  }
  conclude();
  return true;
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
  // Needed also with probes, because one may turn out to be impossible.
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
  left_alone_ = true;
  if (is_learnt_port(list_, requested_)) return false;
  const auto now = static_cast<std::uint32_t>(now_ms());
  if (table.walks_exhausted(list_, own_pid(), now)) {
    // A requested address that is parked has not been asked yet: the program's own connect is about
    // to.
    if (!instead_) table.note_walked(list_, now);
    return false;
  }
  left_alone_ = false;
  out.candidates = list_.candidates;
  out.ipv6 = list_.ipv6;
  out.requested = list_.requested;
  PositionSet lately_silent;
  find_bad_ones(socket_, table, list_, requested_.port, out, lately_silent);
  // Addresses that the program has asked for or got in this walk come after those that it has not.
  const PositionSet touched = walk::touched(table, list_, requested_.port);
  PositionSet fresh = out.candidates;
  fresh.drop(touched);
  fresh.remove(out.requested);
  const bool any_well = !out.parked.has_all(fresh);
  if (was_given_ && !any_well) {
    // The requested address is no choice, and no fresh one is well: perhaps the program looks for a
    // server that is back, so the fresh ones are asked in their usual place.
    fresh.drop(lately_silent);
    out.parked.drop(fresh);
  }
  // The requested address was silent a moment ago and no fresh one is well: rather than wait for
  // it, the socket goes to one that the program has seen already (wrk tries every address, from the
  // last to the first).
  const bool will_do = lately_silent.has(out.requested) && !any_well;
  if (!instead_ || !will_do) out.parked.add(touched);
  if (instead_) out.parked.add(list_.requested);
  return true;
}

[[gnu::noinline]] Action ConnectOperation::connect_to(const Action& action) {
  Address next;
  // The address may have been forgotten, after so many lookups that the table was rewritten twice.
  if (!address_at(action.position, next)) {
    remember(action);
    return attempts_.lost_address();
  }
  // Taking the socket back raises an event, which another thread may fetch only once the next
  // attempt has succeeded: an untouched socket is not taken back.
  if (!untouched_ && !take_back_for(next)) {
    return attempts_.seen(SocketPhase::kConnected, now_ms());
  }
  remember(action);
  if (!untouched_ && !restore()) return attempts_.lost_address();
  has_read_error_ = false;
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

// The delay (a fault) of the attempt under way is over: now it goes to its address.
[[gnu::noinline]] Action ConnectOperation::release() {
  take_back(socket_, false);
  lift_fault(socket_);
  if (!settings_.put_back(socket_)) return attempts_.lost_address();
  ConnectAttempts::Attempt made;
  made.outcome = attempt(current_, {});
  interrupted_ = made.outcome == EINTR;
  return attempts_.started(made, now_ms());
}

// connect(2) to `to` that does not wait: 0, EINPROGRESS, EINTR, or an error. That of a non-blocking
// socket returns at once; a blocking one is made to return after a tick. Its SO_SNDTIMEO is asked
// for each time, because the program may set it while the connect is under way.
[[gnu::noinline]] int ConnectOperation::attempt(const Address& to, const Fault& fault) {
  // The kernel refuses because the socket has a port, bound by another process or by a duplicate:
  // no IPv4 address can be reached with it.
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

// Lets a socket that is for IPv6 only reach `to` if that is IPv4, and ends that if it is not. False
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
[[gnu::noinline]] bool ConnectOperation::take_back_for(const Address& next) {
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

// Makes a socket that was taken back what the program has made of it. False when that cannot be
// done.
[[gnu::noinline]] bool ConnectOperation::restore() {
  // An attempt at a link-local address has bound the socket to its device, and only who may bind
  // it again may undo that (CAP_NET_RAW).
  if (is_link_local(current_) && !unbind_device(socket_)) return false;
  return settings_.put_back(socket_);
}

}  // namespace nextaddr
