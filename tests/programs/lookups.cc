// Looks one name up with any of the lookup functions, and prints everything the caller got: for
// comparing byte by byte.
// Must never print a pointer, or anything else that differs from run to run.
//
// function= name= (none: null) service= (none: null); for getaddrinfo and getaddrinfo_a: hints=0
// for null hints, else family= socktype= protocol= flags= (numbers); for the others family=4|6, and
// buffer=N as the first size to offer, doubled after each ERANGE. connect=PORT then connects to the
// first address. repeat=N does it all N times (for leaks). errno=1 prints that too.
#include <signal.h>

#include "check.h"

using namespace check;

namespace {

void print_bytes(const void* bytes, std::size_t length) {
  for (std::size_t i = 0; i < length; ++i) {
    printf("%02x", static_cast<const unsigned char*>(bytes)[i]);
  }
}

void print_list(const addrinfo* list) {
  for (const addrinfo* entry = list; entry != nullptr; entry = entry->ai_next) {
    printf("flags=%d family=%d socktype=%d protocol=%d addrlen=%u canonname=%s addr=",
           entry->ai_flags, entry->ai_family, entry->ai_socktype, entry->ai_protocol,
           entry->ai_addrlen, entry->ai_canonname != nullptr ? entry->ai_canonname : "null");
    print_bytes(entry->ai_addr, entry->ai_addrlen);
    putchar('\n');
  }
}

void print_entry(const hostent* entry) {
  if (entry == nullptr) {
    puts("entry=null");
    return;
  }
  printf("name=%s type=%d length=%d aliases=", entry->h_name, entry->h_addrtype, entry->h_length);
  for (char** alias = entry->h_aliases; *alias != nullptr; ++alias) printf("%s,", *alias);
  printf(" addresses=");
  for (char** address = entry->h_addr_list; *address != nullptr; ++address) {
    print_bytes(*address, static_cast<std::size_t>(entry->h_length));
    putchar(',');
  }
  putchar('\n');
}

class Lookup {
 public:
  explicit Lookup(const Arguments& arguments)
      : name_(arguments.text("name", "(null)")),
        service_(arguments.text("service", "(null)")),
        function_(arguments.text("function")),
        family_(arguments.number("family") == 6 ? AF_INET6 : AF_INET),
        first_buffer_(static_cast<std::size_t>(arguments.number("buffer", 1024))),
        port_(arguments.number("connect")),
        with_hints_(arguments.number("hints", 1) != 0) {
    hints_.ai_family = arguments.number("family");
    hints_.ai_socktype = arguments.number("socktype");
    hints_.ai_protocol = arguments.number("protocol");
    hints_.ai_flags = arguments.number("flags");
  }

  // Prints the answer; the first address of it, or nothing.
  std::vector<Destination> run() {
    errno = 0;
    h_errno = 0;
    if (function_ == "getaddrinfo") return by_getaddrinfo();
    if (function_ == "getaddrinfo_a:wait") return by_getaddrinfo_a(GAI_WAIT);
    if (function_ == "getaddrinfo_a:nowait") return by_getaddrinfo_a(GAI_NOWAIT);
    if (function_ == "gethostbyname") return first_of(noted(gethostbyname(name())), true);
    if (function_ == "gethostbyname2")
      return first_of(noted(gethostbyname2(name(), family_)), true);
    if (function_ == "gethostbyname_r" || function_ == "gethostbyname2_r") return reentrant();
    broken("which function?");
  }

  int errno_afterwards() const { return errno_; }

 private:
  const char* name() const { return name_ == "(null)" ? nullptr : name_.c_str(); }
  const char* service() const { return service_ == "(null)" ? nullptr : service_.c_str(); }
  const addrinfo* hints() const { return with_hints_ ? &hints_ : nullptr; }

  // Passes a result on, and keeps the errno beside it from what follows.
  template <typename Result>
  Result noted(Result result) {
    errno_ = errno;
    return result;
  }

  std::vector<Destination> first_of(addrinfo* list) const {
    print_list(list);
    std::vector<Destination> first;
    if (list != nullptr) {
      first.push_back(destination_of(
          list->ai_family,
          list->ai_family == AF_INET
              ? static_cast<const void*>(&reinterpret_cast<sockaddr_in*>(list->ai_addr)->sin_addr)
              : &reinterpret_cast<sockaddr_in6*>(list->ai_addr)->sin6_addr,
          port_));
      freeaddrinfo(list);
    }
    return first;
  }

  std::vector<Destination> first_of(const hostent* entry, bool sets_h_errno) const {
    if (sets_h_errno && entry == nullptr) printf("h_errno=%d ", h_errno);
    print_entry(entry);
    if (entry == nullptr) return {};
    return {destination_of(entry->h_addrtype, entry->h_addr_list[0], port_)};
  }

  std::vector<Destination> by_getaddrinfo() {
    addrinfo* list = nullptr;
    const int error = noted(getaddrinfo(name(), service(), hints(), &list));
    printf("error=%d\n", error);
    return first_of(error == 0 ? list : nullptr);
  }

  std::vector<Destination> by_getaddrinfo_a(int mode) {
    gaicb request{};
    request.ar_name = name();
    request.ar_service = service();
    request.ar_request = hints();
    gaicb* list[] = {&request};
    sigevent nothing{};
    nothing.sigev_notify = SIGEV_NONE;
    printf("started=%d\n", noted(getaddrinfo_a(mode, list, 1, &nothing)));
    while (gai_error(&request) == EAI_INPROGRESS) {
      const timespec limit{5, 0};
      gai_suspend(list, 1, &limit);
    }
    printf("error=%d\n", gai_error(&request));
    return first_of(gai_error(&request) == 0 ? request.ar_result : nullptr);
  }

  std::vector<Destination> reentrant() {
    for (std::size_t size = first_buffer_;; size *= 2) {
      require(size < std::size_t{1} << 24, "no buffer is large enough");
      // Of exactly this size, so that valgrind sees a write beyond it.
      char* buffer = static_cast<char*>(malloc(size));
      hostent storage{};
      hostent* entry = &storage;
      int error = 0;
      const int result =
          noted(function_ == "gethostbyname_r"
                    ? gethostbyname_r(name(), &storage, buffer, size, &entry, &error)
                    : gethostbyname2_r(name(), family_, &storage, buffer, size, &entry, &error));
      std::vector<Destination> first;
      if (result == ERANGE) {
        require(entry == nullptr, "an answer besides ERANGE");
        if (size == first_buffer_) printf("first=ERANGE h_error=%d ", error);
      } else {
        printf("result=%s h_error=%d ", error_name(result), error);
        first = first_of(result == 0 ? entry : nullptr, false);
      }
      free(buffer);
      if (result != ERANGE) return first;
    }
  }

  std::string name_;
  std::string service_;
  std::string function_;
  int family_;
  std::size_t first_buffer_;
  int port_;
  bool with_hints_;
  addrinfo hints_{};
  int errno_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const Arguments arguments(argc, argv);
  Lookup lookup(arguments);
  std::vector<Destination> first;
  for (int i = 0; i < arguments.number("repeat", 1); ++i) first = lookup.run();
  if (arguments.number("errno") != 0) printf("errno=%s\n", error_name(lookup.errno_afterwards()));
  if (arguments.number("connect") != 0) {
    require(!first.empty(), "nothing to connect to");
    const int fd = tcp_socket(first[0].family());
    print(timed_connect(fd, first[0]));
    printf("peer=%s\n", peer_of(fd).c_str());
  }
}
