#include "lifecycle/deep_binding.h"

#include <dlfcn.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>

#include "config.h"
#include "engine/loaded_object.h"
#include "os/callable.h"
#include "os/errno_kept.h"
#include "os/libc.h"
#include "os/sandbox.h"
#include "os/signals.h"
#include "os/turn.h"
#include "process/process.h"

namespace nextaddr::deep_binding {
namespace {

using Address = LoadedObject::Address;

// ---- One thread at a time ----

// Two that write to the pages of one object would make them read-only for each other, and a child
// of fork(2) would begin with a lock of the loader that its parent had.
constinit Turn turn;
constexpr std::uint64_t kPatienceUs = 200'000;

// ---- The objects of our namespace ----

// Calls `visit` with each, in the order in which they were loaded, until it is true. The loader
// holds a lock meanwhile: none is unloaded, and nothing that may wait for another thread, as
// dlsym(3) does, may be called. No object at all when another thread is at it for too long.
using Visit = Callable<bool, const dl_phdr_info&, const LoadedObject&>;
void find_object(const Visit& visit) {
  const Uninterrupted uninterrupted;
  if (!turn.take(kPatienceUs)) return;
  dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* data) -> int {
        const LoadedObject object(info->dlpi_addr, info->dlpi_phdr, info->dlpi_phnum);
        return static_cast<int>((*static_cast<const Visit*>(data))(*info, object));
      },
      const_cast<Visit*>(&visit));
  turn.give_back();
}

// ---- Our names, and what is behind them ----

constexpr std::size_t kMostNames = 128;

// What each hook hands on to, by the number of its name in what we export; 0: not known, or
// nothing. Every thread that finds out finds the same.
constinit std::array<std::atomic<Address>, kMostNames> behind{};

class Names {
 public:
  Names() {
    find_object([this](const dl_phdr_info&, const LoadedObject& object) {
      if (!object.contains(reinterpret_cast<Address>(&behind))) return false;
      ours_ = object;
      return true;
    });
    count_ = ours_.is_known() ? ours_.export_count() : 0;
    if (count_ > kMostNames) count_ = kMostNames;
  }

  // Before the program's own call, because dlsym(3) notes for dlerror(3) what it does not find.
  void look_up() {
    for (std::size_t i = 0; i < count_; ++i) {
      if (behind[i].load(std::memory_order_relaxed) != 0) continue;
      behind[i].store(reinterpret_cast<Address>(libc::find_next(name(i))),
                      std::memory_order_relaxed);
    }
    for (std::size_t i = 0; i < count_; ++i) {
      const Address address = behind[i].load(std::memory_order_relaxed);
      if (address == 0) continue;
      lowest_ = std::min(lowest_, address);
      highest_ = std::max(highest_, address);
    }
  }

  [[nodiscard]] std::size_t count() const { return count_; }
  [[nodiscard]] const char* name(std::size_t i) const { return ours_.name_of(ours_.exported(i)); }
  [[nodiscard]] Address hook(std::size_t i) const { return ours_.address_of(ours_.exported(i)); }

  // The number, or count() or more: none of ours.
  [[nodiscard]] std::size_t find(const char* name) const { return ours_.find_export(name); }
  [[nodiscard]] std::size_t find_behind(Address address) const {
    if (address < lowest_ || address > highest_) return count_;
    std::size_t i = 0;
    while (i < count_ && behind[i].load(std::memory_order_relaxed) != address) ++i;
    return i;
  }

 private:
  LoadedObject ours_;
  std::size_t count_ = 0;
  Address lowest_ = ~Address{0};
  Address highest_ = 0;
};

// ---- Writing ----

// The slots of one object. Its sealed pages are as they were in the end.
class Writer {
 public:
  explicit Writer(const LoadedObject& object)
      : object_(object), sealed_(object.sealed(static_cast<Address>(sysconf(_SC_PAGESIZE)))) {}
  ~Writer() {
    if (open_) protect(PROT_READ);
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  [[nodiscard]] bool is_sealed(const Address* place) const {
    return sealed_.contains(reinterpret_cast<Address>(place));
  }

  // Unless it holds something else by now.
  void write(Address* place, Address before, Address after) {
    if (!object_.is_writable(reinterpret_cast<Address>(place))) return;
    if (is_sealed(place) && !open_) {
      open_ = protect(PROT_READ | PROT_WRITE);
      if (!open_) return;
    }
    __atomic_compare_exchange_n(place, &before, after, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED);
  }

 private:
  bool protect(int protection) const {
    return mprotect(thing_at<void>(sealed_.begin), sealed_.end - sealed_.begin, protection) == 0;
  }

  const LoadedObject& object_;
  const LoadedObject::Range sealed_;
  bool open_ = false;
};

Address value_of(const LoadedObject::Slot& slot) {
  if (reinterpret_cast<Address>(slot.place) % sizeof(Address) != 0) return 0;
  return __atomic_load_n(slot.place, __ATOMIC_RELAXED);
}

// The names of ours that something has not bound yet, and what may be done about it.
struct Unbound {
  std::array<bool, kMostNames> names{};
  bool decided = false;  // those that are left are to be bound
};

// Writes what holds an address that is behind a name of ours. An address in the object itself is
// something of its own; or, where another object defines the name, it is taken when it is called
// first, and stands for that until then.
void bind(const LoadedObject& object, const Names& names, Unbound& unbound) {
  Writer writer(object);
  object.for_each_slot([&](const LoadedObject::Slot& slot) {
    const Address value = value_of(slot);
    std::size_t i = names.count();
    if (!object.contains(value)) {
      i = names.find_behind(value);
    } else if (slot.lazy && slot.symbol != nullptr && slot.symbol->st_shndx == SHN_UNDEF &&
               !writer.is_sealed(slot.place)) {
      i = names.find(object.name_of(*slot.symbol));
      if (i < names.count() && !unbound.decided) unbound.names[i] = true;
      if (i < names.count() && (!unbound.decided || !unbound.names[i])) return;
    }
    if (i < names.count()) writer.write(slot.place, value, names.hook(i));
  });
}

// ---- What a dlopen(3) has loaded ----

// Whether one of `count` objects, of which the first is `map`, needs this one.
bool is_needed(const link_map* map, std::size_t count, const dl_phdr_info& info,
               const LoadedObject& object) {
  for (; count > 0; --count, map = map->l_next) {
    if (LoadedObject(map->l_addr, map->l_ld).needs(object, info.dlpi_name)) return true;
  }
  return false;
}

// Calls `visit` with the object of this handle, and those that were loaded because of it: they
// follow it in the loader's list, each after one that needs it, because nobody else loads
// meanwhile. Those that were there before have been bound by whoever loaded them. All of them are
// complete, and kept by the handle.
void for_each_loaded(const link_map* first, const Callable<void, const LoadedObject&>& visit) {
  std::size_t count = 0;
  find_object([&](const dl_phdr_info& info, const LoadedObject& object) {
    if (count == 0 && (info.dlpi_addr != first->l_addr || info.dlpi_name != first->l_name)) {
      return false;
    }
    if (!object.is_known() || (count != 0 && !is_needed(first, count, info, object))) return true;
    ++count;
    visit(object);
    return false;
  });
}

// A name that is not bound yet is libc's if the handle finds it there, where the loader looks first
// for what was loaded with the flag, and if all programs find ours, where it looks first otherwise.
bool would_be_bound(void* handle, const Names& names, std::size_t i) {
  const Address libcs = behind[i].load(std::memory_order_relaxed);
  return libcs != 0 && reinterpret_cast<Address>(libc::find_in(handle, names.name(i))) == libcs &&
         reinterpret_cast<Address>(libc::find_in(RTLD_DEFAULT, names.name(i))) == names.hook(i);
}

}  // namespace

bool can_open_for(const void* caller, const char* file) {
  if (file == nullptr || *file == '\0' || std::strchr(file, '$') != nullptr) return false;
  const ErrnoKept errno_kept;
  if (!active() || !config().deepbind || !owns_memory() || sandbox() == Sandbox::kCertain) {
    return false;
  }
  bool is_first = true;
  bool found = false;
  bool looks_elsewhere = false;
  find_object([&](const dl_phdr_info&, const LoadedObject& object) {
    if (object.contains(reinterpret_cast<Address>(caller))) {
      found = true;
      looks_elsewhere = looks_elsewhere || object.has(DT_RUNPATH);
    }
    // That of the program counts for all. Of others it counts also for what they have loaded, and
    // who has loaded whom is not told.
    looks_elsewhere = looks_elsewhere || (!is_first && object.has(DT_RPATH));
    is_first = false;
    return false;
  });
  return found && (!looks_elsewhere || std::strchr(file, '/') != nullptr);
}

void* open(const char* file, int flags) {
  Names names;
  names.look_up();
  void* handle = libc::dlopen(file, flags);
  if (handle == nullptr) return nullptr;
  const ErrnoKept errno_kept;
  // glibc's handle of an object is its entry in the loader's list (dlinfo(3), RTLD_DI_LINKMAP).
  const auto* first = static_cast<const link_map*>(handle);
  Unbound unbound;
  const auto bind_loaded = [&](const LoadedObject& object) { bind(object, names, unbound); };
  for_each_loaded(first, bind_loaded);
  for (std::size_t i = 0; i < names.count(); ++i) {
    unbound.names[i] = unbound.names[i] && would_be_bound(handle, names, i);
    unbound.decided = unbound.decided || unbound.names[i];
  }
  if (unbound.decided) for_each_loaded(first, bind_loaded);
  // What was not found is not to be told by dlerror(3).
  static_cast<void>(libc::find_in(handle, names.name(0)));
  return handle;
}

void hold_back() { static_cast<void>(turn.take(kPatienceUs)); }
void let_be() { turn.give_back(); }
void forget_those_of_parent() { turn.begin_child(); }

}  // namespace nextaddr::deep_binding
