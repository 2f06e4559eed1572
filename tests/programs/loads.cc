// Loads a module, and tells what may not depend on a library that is preloaded, and, in a line of
// its own, by whose functions the module has been bound.
// Must never connect, nor look anything up.
//
// file=; flags=lazy+global+.. as of dlopen(3); opener=PATH (a module that calls dlopen(3) in the
// program's place), namespace=new (in which that is loaded); rounds=.
#include <link.h>

#include <algorithm>

#include "check.h"
#include "dlopen_flags.h"

using namespace check;

namespace {

std::string base_name(const char* path) {
  const char* slash = strrchr(path, '/');
  return slash != nullptr ? slash + 1 : path;
}

// The object that an address is in.
std::string home_of(const void* address) {
  Dl_info info{};
  if (address == nullptr) return "none";
  return dladdr(address, &info) != 0 ? base_name(info.dli_fname) : "nowhere";
}

// How the pages of an object are protected.
void print_protection(const link_map* map) {
  FILE* maps = fopen("/proc/self/maps", "r");
  require(maps != nullptr, "maps");
  char line[4096];
  unsigned long begin = 0, end = 0;
  while (fgets(line, sizeof line, maps) != nullptr) {
    line[strcspn(line, "\n")] = '\0';
    const char* path = strchr(line, '/');
    char permissions[5];
    if (path != nullptr && strcmp(path, map->l_name) == 0 &&
        sscanf(line, "%lx-%lx %4s", &begin, &end, permissions) == 3) {
      printf("pages=%lx %s\n", (end - begin) / 4096, permissions);
    }
  }
  fclose(maps);
}

template <typename Function>
Function* function_of(void* module, const char* name) {
  return reinterpret_cast<Function*>(dlsym(module, name));
}

}  // namespace

int main(int argc, char** argv) {
  alarm(20);
  const Arguments arguments(argc, argv);
  const int flags = dlopen_flags(arguments.text("flags"));
  const std::string file = arguments.text("file"), opener = arguments.text("opener");
  using Open = void*(const char*, int);
  Open* open = nullptr;
  if (!opener.empty()) {
    void* module = arguments.text("namespace") == "new"
                       ? dlmopen(LM_ID_NEWLM, opener.c_str(), RTLD_NOW)
                       : dlopen(opener.c_str(), RTLD_NOW);
    require(module != nullptr, dlerror());
    open = function_of<Open>(module, "open_of_plugin");
    require(open != nullptr, "open_of_plugin");
  }
  for (int round = 0; round < std::max(1, arguments.number("rounds")); ++round) {
    errno = 0;
    void* module = open != nullptr ? open(file.c_str(), flags) : dlopen(file.c_str(), flags);
    if (module == nullptr) {
      const char* error = dlerror();
      printf("error=%s\n", error != nullptr ? error : "(null)");
      continue;
    }
    const char* error = dlerror();
    link_map* map = nullptr;
    Lmid_t space = -1;
    dlinfo(module, RTLD_DI_LINKMAP, &map);
    dlinfo(module, RTLD_DI_LMID, &space);
    printf("loaded=%s dlerror=%s namespace=%ld again=%d\n", map->l_name,
           error != nullptr ? error : "none", space,
           dlopen(map->l_name, RTLD_LAZY | RTLD_NOLOAD) == module);
    for (const char* name :
         {"connect", "poll", "getaddrinfo", "dlopen", "connect_of_plugin", "nothing"}) {
      printf("%s: handle=%s version=%s default=%s\n", name, home_of(dlsym(module, name)).c_str(),
             home_of(dlvsym(module, name, "GLIBC_2.2.5")).c_str(),
             home_of(dlsym(RTLD_DEFAULT, name)).c_str());
    }
    if (auto* next = function_of<void*(const char*)>(module, "next_of_plugin")) {
      printf("next: %s %s\n", home_of(next("connect")).c_str(),
             home_of(next("next_of_plugin")).c_str());
    }
    print_protection(map);
    if (auto* bound = function_of<const void*()>(module, "connect_of_plugin")) {
      auto** table = static_cast<const void**>(dlsym(module, "connects_of_plugin"));
      printf("poll=%d\n", function_of<int()>(module, "poll_of_plugin")());
      printf("bound=%s table=%s,%s\n", home_of(bound()).c_str(), home_of(table[0]).c_str(),
             home_of(table[1]).c_str());
    }
    dlclose(module);
    dlclose(module);
  }
}
