// Answers lookups of the names that --resolve gives addresses to, as libc would answer them from
// its hosts file. The one place where a lookup's result is ours. Not async-signal-safe (nor are the
// libc functions).
#pragma once

#include <netdb.h>

#include <cstddef>

namespace nextaddr {

// True when --resolve has addresses for this name; false for null and for everything while inert.
bool name_is_given(const char* name);

// getaddrinfo(3) for a given name. The list is made of libc's own pieces: freeaddrinfo(3) frees it.
int given_getaddrinfo(const char* node, const char* service, const addrinfo* hints,
                      addrinfo** result);

// gethostbyname2_r(3) for a given name: 0 or ERANGE; `*result` is null and `*error` set when the
// name has no address of that family.
int given_hostent(const char* name, int family, hostent* entry, char* buffer, std::size_t size,
                  hostent** result, int* error);

// gethostbyname2(3) for a given name: static storage, h_errno.
hostent* given_static_hostent(const char* name, int family);

}  // namespace nextaddr
