// dlopen(3): what is loaded with RTLD_DEEPBIND finds libc before us, and is bound to us afterwards.
//
// Everything else is a jump, without a frame: the loader asks who calls it.
#include <dlfcn.h>

#include "hooks/hook.h"
#include "lifecycle/deep_binding.h"
#include "os/libc.h"

namespace {

#ifdef RTLD_DEEPBIND
constexpr int kDeepBind = RTLD_DEEPBIND;
#else
constexpr int kDeepBind = 0;
#endif

__attribute__((noinline, cold)) void* load_deep(const char* file, int flags, const void* caller) {
  if (nextaddr::deep_binding::can_open_for(caller, file)) {
    return nextaddr::deep_binding::open(file, flags);
  }
  return nextaddr::libc::dlopen(file, flags);
}

}  // namespace

NEXTADDR_HOOK void* dlopen(const char* file, int flags) noexcept {
  if ((flags & kDeepBind) != 0) [[unlikely]]
    return load_deep(file, flags, __builtin_return_address(0));
  return nextaddr::libc::dlopen(file, flags);
}
