// Another thread disturbs a blocking connect of the main thread.
// Must never disturb before the connect waits, nor end before the connect has returned.
//
// host= port= after=MS; how=cancel (pthread_cancel), shutdown, close, reuse (close, and a socket
// connected to stranger=ADDRESS stranger_port=N gets the descriptor's number). syncnt=N bounds the
// connect.
#include <pthread.h>

#include <atomic>

#include "check.h"

using namespace check;

namespace {

struct Connect {
  int fd = -1;
  Destination to;
  Outcome outcome{1, 0, 0};
  bool cleaned_up = false;
  std::atomic<bool> begun{false};
};

void note_cleanup(void* argument) { static_cast<Connect*>(argument)->cleaned_up = true; }

void* run(void* argument) {
  auto* connect = static_cast<Connect*>(argument);
  pthread_cleanup_push(note_cleanup, connect);
  connect->begun = true;
  connect->outcome = timed_connect(connect->fd, connect->to);
  pthread_cleanup_pop(0);
  return nullptr;
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  const int port = arguments.number("port");
  const std::string how = arguments.text("how");
  Connect connect;
  connect.to = look_up(arguments.text("host"), port).front();
  connect.fd = tcp_socket(connect.to.family());
  if (const int count = arguments.number("syncnt")) {
    set_option(connect.fd, IPPROTO_TCP, TCP_SYNCNT, count);
  }
  pthread_t thread;
  require(pthread_create(&thread, nullptr, run, &connect) == 0, "pthread_create");
  while (!connect.begun) sched_yield();
  sleep_ms(arguments.number("after"));

  const long start = now_ms();
  int stranger = -1;
  if (how == "cancel") {
    require(pthread_cancel(thread) == 0, "pthread_cancel");
  } else if (how == "shutdown") {
    // ENOTCONN in the gap between two attempts is for the program to see, not an error of the test.
    printf("shutdown=%s ", shutdown(connect.fd, SHUT_RDWR) == 0 ? "0" : error_name(errno));
  } else {
    must(close(connect.fd), "close");
    if (how == "reuse") {
      const Destination other =
          destination_of(arguments.text("stranger"), arguments.number("stranger_port"));
      stranger = tcp_socket(other.family());
      require(stranger == connect.fd, "the descriptor number is not used again");
      set_send_timeout(stranger, 4320);
      must(::connect(stranger, other.get(), other.length), "connect to the stranger");
    }
  }
  void* result = nullptr;
  require(pthread_join(thread, &result) == 0, "pthread_join");
  print(connect.outcome);
  printf("cancelled=%d cleaned_up=%d ended_after=%ld", result == PTHREAD_CANCELED,
         connect.cleaned_up, now_ms() - start);
  if (how == "shutdown" || how == "cancel") {
    printf(" timeout=%d state=%s", send_timeout_ms(connect.fd), tcp_state_of(connect.fd));
  }
  if (stranger >= 0) {
    printf(" stranger_peer=%s stranger_timeout=%d stranger_transfer=%s", peer_of(stranger).c_str(),
           send_timeout_ms(stranger), transfer(stranger).c_str());
  }
  putchar('\n');
}
