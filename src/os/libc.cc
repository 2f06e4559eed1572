// Built for speed: it stands in each call of a hook.
#include "os/libc.h"

#include <dlfcn.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstring>

#include "os/errno_kept.h"
#include "os/kernel.h"
#include "os/symbol_versions.h"

NEXTADDR_OLDEST_VERSION(dlsym);

// glibc before 2.34 has dlsym in libdl. To need that would load it into every process, on every
// glibc, which takes as long there as all else we do. So dlsym may be missing: where it is, libdl
// is opened by what those versions have for themselves. That is private, and so taken without a
// version: a newer glibc, or another libc, need not have it.
#ifdef NEXTADDR_FIRST_GLIBC
#pragma weak dlsym
extern "C" {
__attribute__((weak)) void* __libc_dlopen_mode(const char* file, int mode);
__attribute__((weak)) void* __libc_dlsym(void* library, const char* name);
}
#endif

namespace nextaddr::libc {
namespace {

using Dlsym = void*(void*, const char*);

#ifdef NEXTADDR_FIRST_GLIBC

// What dlopen adds to the mode, __RTLD_DLOPEN.
constexpr int kAsDlopen = static_cast<int>(0x80000000);

constinit std::atomic<Dlsym*> fetched_dlsym{nullptr};

// Null where there is no libdl either.
__attribute__((noinline, cold)) void* fetch_from_libdl(const char* name) {
  if (__libc_dlopen_mode == nullptr || __libc_dlsym == nullptr) return nullptr;
  void* libdl = __libc_dlopen_mode("libdl.so.2", RTLD_NOW | kAsDlopen);
  return libdl != nullptr ? __libc_dlsym(libdl, name) : nullptr;
}

Dlsym* fetch_dlsym() {
  auto* fetched = reinterpret_cast<Dlsym*>(fetch_from_libdl("dlsym"));
  fetched_dlsym.store(fetched, std::memory_order_release);
  return fetched;
}

Dlsym* find_dlsym() {
  if (dlsym != nullptr) return dlsym;
  Dlsym* fetched = fetched_dlsym.load(std::memory_order_acquire);
  return fetched != nullptr ? fetched : fetch_dlsym();
}

#else

void* fetch_from_libdl(const char*) { return nullptr; }

Dlsym* find_dlsym() { return dlsym; }

#endif

// RTLD_NEXT goes by the object that calls, so that must be ours. Null also when there is no dlsym.
void* find_symbol(void* where, const char* name) {
  Dlsym* find = find_dlsym();
  return find != nullptr ? find(where, name) : nullptr;
}

// One function of the next object in the search order, which is called by one jump: until it has
// been looked up, `first` stands in its place, which looks it up or does without. Constant-
// initialised: another library's constructor, or an allocator's, may call a hook before ours has
// run.
template <typename Function>
class Next {
 public:
  constexpr Next(const char* name, Function* first) : name_(name), first_(first), current_(first) {}

  Function* current() const { return current_.load(std::memory_order_relaxed); }
  // Null when no later object has it (another libc). errno is left alone.
  Function* get() { return current() != first_ ? current() : look_up(); }

 private:
  Function* look_up();

  const char* name_;
  Function* first_;
  std::atomic<Function*> current_;
};

template <typename Function>
__attribute__((noinline, cold)) Function* Next<Function>::look_up() {
  const ErrnoKept errno_kept;
  auto* found = reinterpret_cast<Function*>(find_symbol(RTLD_NEXT, name_));
  if (found != nullptr) current_.store(found, std::memory_order_relaxed);
  return found;
}

template <auto kMissing, typename Result, typename... Arguments>
Result look_up_and_call(Next<Result(Arguments...)>& next, Arguments... arguments) {
  auto* function = next.get();
  if (function != nullptr) return function(arguments...);
  errno = ENOSYS;
  return kMissing;
}

// NOLINTBEGIN(bugprone-macro-parentheses): the arguments are types, names and lists in parentheses.
#define NEXTADDR_LIST(...) __VA_ARGS__
#define NEXTADDR_SIGNAL_SAFE(result, name, symbol, parameters, arguments) \
  NEXTADDR_LOOKUP_AS(result, name, symbol, parameters, arguments, -1)
#define NEXTADDR_EARLY(result, name, symbol, parameters, arguments, system_call) \
  __attribute__((cold)) result first_##name parameters { return system_call; }   \
  constinit Next<decltype(libc::name)> next_##name{#symbol, first_##name};
#define NEXTADDR_LOOKUP(result, name, symbol, parameters, arguments, missing) \
  NEXTADDR_LOOKUP_AS(result, name, symbol, parameters, arguments, missing)
#define NEXTADDR_LOOKUP_AS(result, name, symbol, parameters, arguments, missing) \
  result first_##name parameters;                                                \
  constinit Next<decltype(libc::name)> next_##name{#symbol, first_##name};       \
  __attribute__((cold)) result first_##name parameters {                         \
    return look_up_and_call<missing>(next_##name, NEXTADDR_LIST arguments);      \
  }
#define NEXTADDR_RESOLVER(result, name, parameters, arguments)
#include "os/libc_functions.inc"
#undef NEXTADDR_SIGNAL_SAFE
#undef NEXTADDR_EARLY
#undef NEXTADDR_LOOKUP
#undef NEXTADDR_LOOKUP_AS
#undef NEXTADDR_RESOLVER

// Variadic, as libc declares it: that may be another way to be called.
constinit Next<int(int, ...)> next_prctl{"prctl", nullptr};

void* first_dlopen(const char* file, int flags);
constinit Next<decltype(libc::dlopen)> next_dlopen{"dlopen", first_dlopen};

// The loader goes by who calls it, so this, as all before it, is a jump. A module may have brought
// libdl along for itself, before glibc 2.34: then it is not after us.
decltype(libc::dlopen)* fetch_dlopen() {
  auto* next = next_dlopen.get();
  return next != nullptr ? next : reinterpret_cast<decltype(next)>(fetch_from_libdl("dlopen"));
}
__attribute__((cold)) void* first_dlopen(const char* file, int flags) {
  auto* next = fetch_dlopen();
  return next != nullptr ? next(file, flags) : nullptr;
}

// Null where the process has no libresolv beside libc.
void* resolver_library() {
  constexpr const char* kName = "libresolv.so.2";
  if (auto* open = next_dlopen.get()) return open(kName, RTLD_LAZY | RTLD_NOLOAD);
#ifdef NEXTADDR_FIRST_GLIBC
  if (__libc_dlopen_mode != nullptr) {
    return __libc_dlopen_mode(kName, RTLD_LAZY | RTLD_NOLOAD | kAsDlopen);
  }
#endif
  return nullptr;
}

// A function of libresolv, by the name with two underscores. Before glibc 2.34 that is a library of
// its own, and may have only these names, which in newer ones nobody can ask for by hand. A module
// that is loaded later may have brought it along for itself: then it is not after us, but there.
void* find_in_resolver(const char* name) {
  for (const char* each : {name + 2, name}) {
    if (void* found = find_symbol(RTLD_NEXT, each)) return found;
  }
  void* library = resolver_library();
  if (library == nullptr) return nullptr;
  void* found = find_symbol(library, name + 2);
  return found != nullptr ? found : find_symbol(library, name);
}

// Calls a function of libresolv, which is looked up each time: beside a lookup of names that takes
// no time.
template <typename... Arguments>
int resolve_by(const char* function, Arguments... arguments) {
  const int saved = errno;
  void* found = find_in_resolver(function);
  errno = saved;
  if (found != nullptr) return reinterpret_cast<int (*)(Arguments...)>(found)(arguments...);
  h_errno = NETDB_INTERNAL;
  return fail_with(ENOSYS);
}

}  // namespace

#define NEXTADDR_SIGNAL_SAFE(result, name, symbol, parameters, arguments) \
  result name parameters { return next_##name.current() arguments; }
#define NEXTADDR_EARLY(result, name, symbol, parameters, arguments, system_call) \
  NEXTADDR_SIGNAL_SAFE(result, name, symbol, parameters, arguments)
#define NEXTADDR_LOOKUP(result, name, symbol, parameters, arguments, missing) \
  NEXTADDR_SIGNAL_SAFE(result, name, symbol, parameters, arguments)
#define NEXTADDR_RESOLVER(result, name, parameters, arguments) \
  result name parameters { return resolve_by("__" #name, NEXTADDR_LIST arguments); }
#include "os/libc_functions.inc"
#undef NEXTADDR_SIGNAL_SAFE
#undef NEXTADDR_EARLY
#undef NEXTADDR_LOOKUP
#undef NEXTADDR_RESOLVER

void buffer_overflow_detected() {
  // glibc's own way to end a program whose array is too small for its poll.
  auto* fail = reinterpret_cast<void (*)()>(find_symbol(RTLD_DEFAULT, "__chk_fail"));
  if (fail != nullptr) fail();
  __builtin_trap();
}

int prctl(int option, unsigned long second, unsigned long third, unsigned long fourth,
          unsigned long fifth) {
  auto* next = next_prctl.get();
  if (next != nullptr) return next(option, second, third, fourth, fifth);
  return static_cast<int>(syscall(SYS_prctl, option, second, third, fourth, fifth));
}

void* dlopen(const char* file, int flags) { return next_dlopen.current()(file, flags); }

void* find_next(const char* name) { return find_symbol(RTLD_NEXT, name); }
void* find_in(void* handle, const char* name) { return find_symbol(handle, name); }

void at_fork(void (*before)(), void (*in_parent)(), void (*in_child)()) {
  // glibc has pthread_atfork(3) not as a symbol but in each object, where it calls this.
  using Register = int(void (*)(), void (*)(), void (*)(), void*);
  if (void* found = find_symbol(RTLD_DEFAULT, "__register_atfork")) {
    reinterpret_cast<Register*>(found)(before, in_parent, in_child, nullptr);
    return;
  }
  using Atfork = int(void (*)(), void (*)(), void (*)());
  if (void* found = find_symbol(RTLD_DEFAULT, "pthread_atfork")) {
    reinterpret_cast<Atfork*>(found)(before, in_parent, in_child);
  }
}

void resolve_first() {
#define NEXTADDR_SIGNAL_SAFE(result, name, symbol, parameters, arguments)
#define NEXTADDR_EARLY(result, name, symbol, parameters, arguments, system_call) next_##name.get();
#define NEXTADDR_LOOKUP(result, name, symbol, parameters, arguments, missing)
#define NEXTADDR_RESOLVER(result, name, parameters, arguments)
#include "os/libc_functions.inc"
#undef NEXTADDR_SIGNAL_SAFE
#undef NEXTADDR_EARLY
}

namespace {

using Dladdr = int(const void*, Dl_info*);

// True when a symbol is in this object, or in a sanitizer, whose own connect(2) leads nowhere else.
bool is_in(Dladdr* dladdr_function, const void* symbol, const Dl_info& object) {
  Dl_info found{};
  return symbol == nullptr || dladdr_function(symbol, &found) == 0 ||
         found.dli_fbase == object.dli_fbase || std::strstr(found.dli_fname, "san.so") != nullptr;
}

// See connect_is_plain.
bool is_connect_plain() {
  // dladdr is in libdl before glibc 2.34, and so perhaps not there.
  auto* find = reinterpret_cast<Dladdr*>(find_symbol(RTLD_DEFAULT, "dladdr"));
  Dl_info ours{};
  Dl_info libcs{};
  if (find == nullptr || find(reinterpret_cast<const void*>(&is_connect_plain), &ours) == 0 ||
      find(find_symbol(RTLD_NEXT, "gai_strerror"), &libcs) == 0) {
    return true;
  }
  return is_in(find, find_symbol(RTLD_DEFAULT, "connect"), ours) &&
         is_in(find, reinterpret_cast<const void*>(next_connect.get()), libcs);
}

}  // namespace

void resolve_signal_safe() {
  single_threaded_flag.store(
      static_cast<const char*>(find_symbol(RTLD_DEFAULT, "__libc_single_threaded")),
      std::memory_order_relaxed);
#define NEXTADDR_SIGNAL_SAFE(result, name, symbol, parameters, arguments) next_##name.get();
#define NEXTADDR_EARLY(result, name, symbol, parameters, arguments, system_call)
#include "os/libc_functions.inc"
#undef NEXTADDR_SIGNAL_SAFE
#undef NEXTADDR_EARLY
#undef NEXTADDR_LOOKUP
#undef NEXTADDR_RESOLVER
  // NOLINTEND(bugprone-macro-parentheses)
  next_prctl.get();
  connect_is_plain.store(is_connect_plain(), std::memory_order_relaxed);
}

}  // namespace nextaddr::libc
