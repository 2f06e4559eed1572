// libresolv: lookups whose answers the program reads itself (exim, postfix, sendmail). They are
// only observed; the name is that of the question in the answer.
//
// The names with two underscores are those by which programs from before glibc 2.34 import them. No
// header of libc but <resolv.h>, which renames them, declares any of these.
#include "hooks/hook.h"
#include "lookup/dns_answers.h"
#include "os/libc.h"

namespace libc = nextaddr::libc;

namespace {

int observed(int length, const unsigned char* answer, int room) {
  nextaddr::dns::note_resolved(answer, length, room);
  return length;
}

}  // namespace

NEXTADDR_HOOK int res_query(const char* name, int of_class, int type, unsigned char* answer,
                            int room) {
  return observed(libc::res_query(name, of_class, type, answer, room), answer, room);
}

NEXTADDR_HOOK int __res_query(const char* name, int of_class, int type, unsigned char* answer,
                              int room) {
  return res_query(name, of_class, type, answer, room);
}

NEXTADDR_HOOK int res_search(const char* name, int of_class, int type, unsigned char* answer,
                             int room) {
  return observed(libc::res_search(name, of_class, type, answer, room), answer, room);
}

NEXTADDR_HOOK int __res_search(const char* name, int of_class, int type, unsigned char* answer,
                               int room) {
  return res_search(name, of_class, type, answer, room);
}

NEXTADDR_HOOK int res_querydomain(const char* name, const char* domain, int of_class, int type,
                                  unsigned char* answer, int room) {
  return observed(libc::res_querydomain(name, domain, of_class, type, answer, room), answer, room);
}

NEXTADDR_HOOK int __res_querydomain(const char* name, const char* domain, int of_class, int type,
                                    unsigned char* answer, int room) {
  return res_querydomain(name, domain, of_class, type, answer, room);
}

NEXTADDR_HOOK int res_send(const unsigned char* query, int size, unsigned char* answer, int room) {
  return observed(libc::res_send(query, size, answer, room), answer, room);
}

NEXTADDR_HOOK int __res_send(const unsigned char* query, int size, unsigned char* answer,
                             int room) {
  return res_send(query, size, answer, room);
}

NEXTADDR_HOOK int res_nquery(void* state, const char* name, int of_class, int type,
                             unsigned char* answer, int room) {
  return observed(libc::res_nquery(state, name, of_class, type, answer, room), answer, room);
}

NEXTADDR_HOOK int __res_nquery(void* state, const char* name, int of_class, int type,
                               unsigned char* answer, int room) {
  return res_nquery(state, name, of_class, type, answer, room);
}

NEXTADDR_HOOK int res_nsearch(void* state, const char* name, int of_class, int type,
                              unsigned char* answer, int room) {
  return observed(libc::res_nsearch(state, name, of_class, type, answer, room), answer, room);
}

NEXTADDR_HOOK int __res_nsearch(void* state, const char* name, int of_class, int type,
                                unsigned char* answer, int room) {
  return res_nsearch(state, name, of_class, type, answer, room);
}

NEXTADDR_HOOK int res_nquerydomain(void* state, const char* name, const char* domain, int of_class,
                                   int type, unsigned char* answer, int room) {
  return observed(libc::res_nquerydomain(state, name, domain, of_class, type, answer, room), answer,
                  room);
}

NEXTADDR_HOOK int __res_nquerydomain(void* state, const char* name, const char* domain,
                                     int of_class, int type, unsigned char* answer, int room) {
  return res_nquerydomain(state, name, domain, of_class, type, answer, room);
}

NEXTADDR_HOOK int res_nsend(void* state, const unsigned char* query, int size,
                            unsigned char* answer, int room) {
  return observed(libc::res_nsend(state, query, size, answer, room), answer, room);
}

NEXTADDR_HOOK int __res_nsend(void* state, const unsigned char* query, int size,
                              unsigned char* answer, int room) {
  return res_nsend(state, query, size, answer, room);
}
