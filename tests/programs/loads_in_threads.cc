// Threads that load and unload modules with every flag of dlopen(3), and use what they have loaded.
// Must never fork: glibc does not let a child load whose parent was just loading in another thread.
//
// modules=PATH:PATH..; threads=; rounds= of each; seed=
#include <atomic>
#include <random>
#include <sstream>
#include <thread>
#include <vector>

#include "check.h"
#include "dlopen_flags.h"

using namespace check;

namespace {

std::atomic<long> loaded{0};
std::atomic<long> used{0};

void load(const std::vector<std::string>& modules, std::mt19937& random) {
  int flags = (random() % 2 != 0 ? RTLD_LAZY : RTLD_NOW) | (random() % 4 != 0 ? RTLD_DEEPBIND : 0);
  if (random() % 2 != 0) flags |= RTLD_GLOBAL;
  if (random() % 8 == 0) flags |= RTLD_NOLOAD;
  std::size_t chosen = random() % modules.size();
  // The last one alone, because that is never loaded anew.
  if (chosen == modules.size() - 1) flags |= RTLD_NODELETE;
  void* module = dlopen(modules[chosen].c_str(), flags);
  if (module == nullptr) {
    require((flags & RTLD_NOLOAD) != 0, "dlopen");
    return;
  }
  ++loaded;
  auto* wait = reinterpret_cast<int (*)()>(dlsym(module, "poll_of_plugin"));
  require(wait != nullptr, "dlsym");
  const int result = wait();
  require(result == 0 || result == -77, "poll");
  ++used;
  require(dlclose(module) == 0, "dlclose");
}

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  std::vector<std::string> modules;
  std::istringstream paths(arguments.text("modules"));
  for (std::string path; std::getline(paths, path, ':');) modules.push_back(path);
  const int rounds = arguments.number("rounds");
  std::vector<std::thread> threads;
  for (int i = 0; i < arguments.number("threads"); ++i) {
    threads.emplace_back([&, i] {
      std::mt19937 random(static_cast<unsigned>(arguments.number("seed") * 100 + i));
      for (int round = 0; round < rounds; ++round) load(modules, random);
    });
  }
  for (std::thread& each : threads) each.join();
  printf("loaded=%ld used=%ld\n", loaded.load(), used.load());
}
