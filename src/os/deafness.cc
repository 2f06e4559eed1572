#include "os/deafness.h"

#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "os/errno_kept.h"
#include "os/libc.h"
#include "os/socket.h"

namespace nextaddr {
namespace {

// What a filter of a TCP socket is shown begins with the TCP header (RFC 9293 section 3.1).
constexpr std::uint32_t kFlagsOffset = 13;
constexpr std::uint32_t kSynAck = TH_SYN | TH_ACK;

constexpr int kLongestTtl = 255;

bool has_filter(int socket) {
  socklen_t instructions = 0;
  // Fails for a filter that cannot be shown, an eBPF program.
  return libc::getsockopt(socket, SOL_SOCKET, SO_GET_FILTER, nullptr, &instructions) != 0 ||
         instructions != 0;
}

bool attach_filter(int socket) {
  sock_filter instructions[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, kFlagsOffset),
      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, kSynAck),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kSynAck, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
  };
  const sock_fprog program{sizeof instructions / sizeof instructions[0], instructions};
  return libc::setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) == 0;
}

}  // namespace

bool Deafness::begin(int socket) {
  const ErrnoKept errno_kept;
  if (!has_filter(socket) && attach_filter(socket)) {
    way_ = Way::kFilter;
  } else if (min_ttl(socket) == 0 && set_min_ttl(socket, kLongestTtl)) {
    way_ = Way::kTtl;
  }
  return way_ != Way::kNone;
}

void Deafness::end(int socket) {
  const ErrnoKept errno_kept;
  if (way_ == Way::kFilter) {
    constexpr int kUnused = 0;
    libc::setsockopt(socket, SOL_SOCKET, SO_DETACH_FILTER, &kUnused, sizeof kUnused);
  }
  if (way_ == Way::kTtl) set_min_ttl(socket, 0);
  way_ = Way::kNone;
}

}  // namespace nextaddr
