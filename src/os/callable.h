// A function that is handed to another one for the time of a call. It must never be kept: it refers
// to what the caller has on its stack.
#pragma once

namespace nextaddr {

// Refers to a function object of the caller: one copy of what calls it serves all.
template <typename Result, typename... Arguments>
class Callable {
 public:
  template <typename Function>
  // NOLINTNEXTLINE(google-explicit-constructor): stands for what is passed
  Callable(const Function& function)
      : function_(&function), call_([](const void* target, Arguments... arguments) {
          return (*static_cast<const Function*>(target))(arguments...);
        }) {}
  Result operator()(Arguments... arguments) const { return call_(function_, arguments...); }

 private:
  const void* function_;
  Result (*call_)(const void*, Arguments...);
};

}  // namespace nextaddr
