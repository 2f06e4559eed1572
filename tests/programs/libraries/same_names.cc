// A library, or a program built with -rdynamic, that happens to have the names our code has inside.
// Must never be called from anywhere: each of these ends the process.
#include <cstdlib>

// The result type of a function is no part of its mangled name.
namespace nextaddr {

int kernel_patience_of(int) { abort(); }
int name_is_given(const char*) { abort(); }
int owns_memory() { abort(); }
int round_trip_us(int) { abort(); }
int socket_cookie(int) { abort(); }
int take_error(int) { abort(); }

}  // namespace nextaddr
