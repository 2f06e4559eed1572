// What a program loads with RTLD_DEEPBIND (PHP its extensions) is bound to libc before us, as are
// the libraries that it brings along. Here it is given our names after all, once the loader is done
// with it: of the slots of the objects that this dlopen(3) has loaded, those are written that hold
// what the hook of the same name hands on to, or would come to hold it. So nothing else is called
// in the end than before, and every other symbol stays where the flag has put it.
//
// The flag is not taken away, no other object is written to, and no dlopen(3) is made by us whose
// outcome depends on who calls it. Constructors of what is loaded run before that.
#pragma once

namespace nextaddr::deep_binding {

// Whether dlopen(3) of this file does the same when we call it in the place of `caller`, and there
// is anything to do for us then. Not where the loader would look into the caller's own directories
// ($ORIGIN, DT_RUNPATH, DT_RPATH), nor for a caller of another namespace (dlmopen(3)).
bool can_open_for(const void* caller, const char* file);

// dlopen(3), with RTLD_DEEPBIND, and what is said above. dlerror(3) and errno are left as it left
// them. Only after can_open_for() has been true.
void* open(const char* file, int flags);

// Around fork(2): no child begins with an object half written, or a lock of the loader held. Waits
// for the microseconds that another thread is at it.
void hold_back();
void let_be();
// In the child.
void forget_those_of_parent();

}  // namespace nextaddr::deep_binding
