// Starts a child that connects, in one of the many ways there are, while other threads of the
// program connect as well. Must never connect before the child is started in any but these threads,
// nor try a second address.
//
// program=PATH of this one; host= port=; times=N children; connecting=N threads that do so all the
// time; how=
//   posix_spawn, actions (with file actions), sigmask (POSIX_SPAWN_SETSIGMASK), vfork (and exec, in
//   a thread), system, popen, daemon (daemon(3)), exec (forks, closes all descriptors, executes),
//   clearenv, no_environ (environ = NULL) before the exec
// role=child is the child: looks up and connects.
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "check.h"

using namespace check;

namespace {

void connect_as_child(const Arguments& arguments) {
  const Destination first = look_up(arguments.text("host"), arguments.number("port")).front();
  sigset_t blocked;
  must(sigprocmask(SIG_SETMASK, nullptr, &blocked), "sigprocmask");
  const int fd = tcp_socket(first.family());
  printf("who=child usr1_blocked=%d ", sigismember(&blocked, SIGUSR1));
  print(timed_connect(fd, first));
  printf("peer=%s transfer=%s\n", peer_of(fd).c_str(), transfer(fd).c_str());
}

void await(pid_t child) {
  int status = -1;
  must(waitpid(child, &status, 0), "waitpid");
  require(status == 0, "the child has failed");
}

void spawn(const std::string& how, char* const* words) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  require(posix_spawn_file_actions_init(&actions) == 0, "file actions");
  require(posix_spawnattr_init(&attributes) == 0, "attributes");
  if (how == "actions") {
    require(posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0) == 0 &&
                posix_spawn_file_actions_addclosefrom_np(&actions, 3) == 0,
            "file actions");
  }
  if (how == "sigmask") {
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGUSR1);
    require(posix_spawnattr_setsigmask(&attributes, &mask) == 0 &&
                posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK) == 0,
            "signal mask");
  }
  pid_t child = -1;
  require(posix_spawn(&child, "/proc/self/exe", &actions, &attributes, words, environ) == 0,
          "posix_spawn");
  await(child);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
}

void vfork_and_execute(char* const* words) {
  const pid_t child = vfork();
  if (child == 0) {
    execv("/proc/self/exe", words);
    _exit(127);
  }
  must(child, "vfork");
  await(child);
}

void start_child(const std::string& how, const std::vector<std::string>& arguments) {
  std::vector<char*> words;
  std::string line;
  for (const std::string& argument : arguments) {
    words.push_back(const_cast<char*>(argument.c_str()));
    line += argument + " ";
  }
  words.push_back(nullptr);
  if (how == "system") {
    require(system(line.c_str()) == 0, "system");
  } else if (how == "popen") {
    FILE* pipe = popen(line.c_str(), "r");
    require(pipe != nullptr, "popen");
    for (int c; (c = fgetc(pipe)) != EOF;) putchar(c);
    require(pclose(pipe) == 0, "pclose");
  } else if (how == "vfork") {
    std::thread(vfork_and_execute, words.data()).join();
  } else if (how == "posix_spawn" || how == "actions" || how == "sigmask") {
    spawn(how, words.data());
  } else {
    const pid_t child = must(fork(), "fork");
    if (child == 0) {
      if (how == "exec") closefrom(3);
      if (how == "clearenv") clearenv();
      if (how == "no_environ") environ = nullptr;
      execv("/proc/self/exe", words.data());
      _exit(127);
    }
    await(child);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  if (arguments.text("role") == "child") {
    connect_as_child(arguments);
    return 0;
  }
  const std::string how = arguments.text("how");
  if (how == "daemon") {
    // The child's output is still that of the program, which ends at once.
    must(daemon(1, 1), "daemon");
    connect_as_child(arguments);
    return 0;
  }
  const Destination to = look_up(arguments.text("host"), arguments.number("port")).front();
  std::atomic<bool> over{false};
  std::atomic<int> connects{0}, failed{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < arguments.number("connecting"); ++i) {
    threads.emplace_back([&] {
      while (!over) {
        const int fd = tcp_socket(to.family());
        failed += connect(fd, to.get(), to.length) != 0;
        ++connects;
        close(fd);
      }
    });
  }
  while (!threads.empty() && connects == 0) sched_yield();
  for (int i = 0; i < arguments.number("times", 1); ++i) {
    std::vector<std::string> words{arguments.text("program"), "role=child"};
    for (const char* key : {"host", "port"}) {
      words.push_back(std::string(key) + "=" + arguments.text(key));
    }
    start_child(how, words);
  }
  over = true;
  for (std::thread& thread : threads) thread.join();
  printf("who=threads failed=%d connects=%d\n", failed.load(), connects.load());
}
