// Lookups that answer with the addresses of LOOKUP_ADDRESSES, in this order, those of one link with
// their scope ("fe80::1%eth0"), which no file of libc's can hold. Must never answer for a numeric
// name, nor for any other name than LOOKUP_NAME.
#include <dlfcn.h>
#include <netdb.h>

#include <cstdlib>
#include <cstring>

extern "C" int getaddrinfo(const char* node, const char* service, const addrinfo* hints,
                           addrinfo** result) {
  static auto* next =
      reinterpret_cast<int (*)(const char*, const char*, const addrinfo*, addrinfo**)>(
          dlsym(RTLD_NEXT, "getaddrinfo"));
  const char* name = getenv("LOOKUP_NAME");
  const char* addresses = getenv("LOOKUP_ADDRESSES");
  if (node == nullptr || name == nullptr || addresses == nullptr || strcmp(node, name) != 0) {
    return next(node, service, hints, result);
  }
  addrinfo numeric = *hints;
  numeric.ai_flags |= AI_NUMERICHOST;
  addrinfo** end = result;
  char* all = strdup(addresses);
  char* rest = nullptr;
  for (char* each = strtok_r(all, ",", &rest); each != nullptr;
       each = strtok_r(nullptr, ",", &rest)) {
    if (const int error = next(each, service, &numeric, end); error != 0) return error;
    while (*end != nullptr) end = &(*end)->ai_next;
  }
  free(all);
  return 0;
}
