#include "lifecycle/command.h"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "config.h"
#include "engine/program_file.h"
#include "engine/text.h"
#include "lifecycle/answer.h"
#include "lifecycle/settings_answers.h"
#include "os/kernel.h"

// The library's own first bytes, in memory, which tell what it is for.
extern "C" const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));

namespace nextaddr {
namespace {

using namespace answer;

using Path = std::array<char, 4096>;

constexpr const char* kBlanks = " \t\n";

// Libraries that look names up themselves.
constexpr ShortText<14> kResolvers[] = {{"libcares.so"}, {"libunbound.so"}, {"libldns.so"},
                                        {"libudns.so"},  {"libadns.so"},    {"libgetdns.so"}};

bool begins(const char* text, std::string_view with) {
  return std::strncmp(text, with.data(), with.size()) == 0;
}

bool exists(const char* path) {
  struct stat status {};
  return kernel::stat(path, status) == 0;
}

// Sets `path` to the file that the shell will run for this name. kAnswered, or why there is none.
Status find_command(const char* name, Path& path) {
  Status status = kNotFound;
  const char* directory = std::strchr(name, '/') == nullptr ? getenv("PATH") : nullptr;
  if (directory == nullptr) directory = "";
  for (std::size_t size = 0; *name != '\0'; directory += size + 1) {
    size = std::strcspn(directory, ":");
    std::snprintf(path.data(), path.size(), "%.*s%s%s", static_cast<int>(size), directory,
                  size == 0 ? "" : "/", name);
    struct stat found {};
    if (kernel::stat(path.data(), found) == 0) {
      const bool may_run = faccessat(AT_FDCWD, path.data(), X_OK, AT_EACCESS) == 0;
      if (may_run && S_ISREG(found.st_mode)) return kAnswered;
      status = kCannotRun;
    } else if (errno == EACCES) {
      status = kCannotRun;
    }
    if (directory[size] == '\0') break;
  }
  return status;
}

// The bytes of a file, until this process ends.
struct FileBytes {
  bool readable = false;
  std::string_view bytes;

  explicit FileBytes(const char* path) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat status {};
    readable = fd >= 0 && kernel::fstat(fd, status) == 0;
    if (!readable) return;
    const auto size = static_cast<std::size_t>(status.st_size);
    const void* mapped = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (mapped != MAP_FAILED) bytes = {static_cast<const char*>(mapped), size};
  }
};

// Will this be what the kernel calls a secure execution? As execve(2) decides it: capabilities of
// the file make it one even where PR_SET_NO_NEW_PRIVS keeps the program from having them.
bool gains_privileges(const char* path) {
  struct stat status {};
  struct statvfs mount {};
  if (kernel::stat(path, status) != 0) return false;
  if (statvfs(path, &mount) == 0 && (mount.f_flag & ST_NOSUID) != 0) return false;
  if (getuid() != 0 && getxattr(path, "security.capability", nullptr, 0) > 0) return true;
  if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) return false;
  // Without that of executing, the bit once meant mandatory locking.
  constexpr mode_t kSetsGroup = S_ISGID | S_IXGRP;
  return ((status.st_mode & S_ISUID) != 0 && status.st_uid != getuid()) ||
         ((status.st_mode & kSetsGroup) == kSetsGroup && status.st_gid != getgid());
}

// Is there a library for this architecture beside this one, for the loader to choose from? What is
// preloaded has $PLATFORM in its path then.
bool has_library_for(const char* architecture) {
  const char* preloaded = getenv("LD_PRELOAD");
  const char* choice = preloaded == nullptr ? nullptr : std::strstr(preloaded, "/platform/$");
  if (choice == nullptr) return false;
  const char* begin = choice;
  while (begin != preloaded && begin[-1] != ':') --begin;
  Path other;
  std::snprintf(other.data(), other.size(), "%.*s/%s/libnextaddr.so",
                static_cast<int>(choice - begin), begin, architecture);
  return exists(other.data());
}

bool is_of_another_libc([[maybe_unused]] const char* loader) {
#ifdef __GLIBC__  // musl takes glibc's names for its own
  return begins(loader, "ld-uClibc") || std::strcmp(loader, "linker") == 0 ||
         std::strcmp(loader, "linker64") == 0;
#else
  return false;
#endif
}

// Walks from a script to the program that interprets it, and collects what keeps the library out of
// that program.
class Examination {
 public:
  // `thorough`: what takes time is looked at as well.
  Examination(const char* command, bool thorough);

  [[nodiscard]] const char* path() const { return path_.data(); }
  // What has been found, in lines, each with its newline.
  Text found;
  // What speaks against helping the command, joined by semicolons.
  Text obstacles;

  // Where the next obstacle is to be added.
  Text& obstacle() {
    if (!obstacles.empty()) obstacles.add("; ");
    return obstacles;
  }

  // What is worth knowing of a program that can be helped, in its place or to some extent.
  void find_habits();

 private:
  // True when there is another file to look at, which is in path_.
  bool examine();
  bool go_on_to_interpreter(std::string_view script);
  void examine_program(const ProgramFile& program);
  void miss_interpreter(const char* interpreter);
  void find_resolvers();
  [[nodiscard]] bool keeps_environment() const;

  Path path_;
  const bool thorough_;
  int depth_ = 0;
  Path loader_{};  // of a program that this machine can run
};

Examination::Examination(const char* command, bool thorough) : thorough_(thorough) {
  const Status status = find_command(command, path_);
  if (status == kNotFound) end(status, "'%s' is not found\n", command);
  if (status == kCannotRun) {
    end(status, "'%s' cannot be run: it is not a file that you may execute\n", command);
  }
  // Nothing more is to be known then of a command that is to be run.
  if (!thorough && config().switched_off) return;
  while (examine()) ++depth_;
}

bool Examination::examine() {
  found.add("path:         %s\n", path());
  const FileBytes file(path());
  const ProgramFile program(file.bytes);
  if (slice(file.bytes, 0, 2) == "#!") return go_on_to_interpreter(file.bytes);
  if (program.is_elf()) {
    examine_program(program);
  } else if (file.readable) {
    found.add("kind:         script without a #! line, which sh runs\n");
    return false;
  }
  if (gains_privileges(path())) {
    obstacle().add(
        "it gains privileges (setuid, setgid or capabilities), so the loader ignores LD_PRELOAD");
  }
  // When it is run, that is no reason for a warning: it may well be helped.
  if (!file.readable && thorough_) {
    obstacle().add("it cannot be read, so nothing more is known about it");
  }
  return false;
}

bool Examination::go_on_to_interpreter(std::string_view script) {
  constexpr int kDeepest = 5;  // the kernel follows no more
  const std::string_view head = slice(script, 2, script.find('\n'));
  Path line;
  std::snprintf(line.data(), line.size(), "%.*s", size_of(head), head.data());
  char* rest = nullptr;
  const char* word = strtok_r(line.data(), kBlanks, &rest);
  const std::size_t size = word == nullptr ? 0 : std::strlen(word);
  Path beside;
  if (size > 4 && std::strcmp(word + size - 4, "/env") == 0) {
    do {
      word = strtok_r(nullptr, kBlanks, &rest);
    } while (word != nullptr && ((*word == '-' && word[1] != '\0') || std::strchr(word, '=')));
  } else if (size != 0 && std::strchr(word, '/') == nullptr) {
    std::snprintf(beside.data(), beside.size(), "./%s", word);
    word = beside.data();
  }
  found.add("kind:         script\ninterpreter:  %s\n", word == nullptr ? "none" : word);
  if (word == nullptr) word = "";
  Path next;
  if (depth_ < kDeepest && find_command(word, next) == kAnswered) {
    path_ = next;
    return true;
  }
  if (thorough_) {
    obstacle().add("its interpreter '%s' cannot be run", word);
  } else if (std::strchr(word, '/') != nullptr) {
    miss_interpreter(word);
  }
  return false;  // whoever runs it says it better
}

// The kernel does not say which file it has not found, nor does the shell.
void Examination::miss_interpreter(const char* interpreter) {
  if (exists(interpreter)) return;
  if (thorough_) {
    obstacle().add("its interpreter '%s' is not there", interpreter);
  } else {
    end(kNotFound, "'%s' cannot be run: its interpreter '%s' is not there\n", path(), interpreter);
  }
}

void Examination::examine_program(const ProgramFile& program) {
  const Architecture ours{__ehdr_start.e_ident[EI_CLASS], __ehdr_start.e_ident[EI_DATA],
                          __ehdr_start.e_machine};
  const Architecture its = program.architecture();
  const ArchitectureName name = its.name();
  const std::string_view loader = program.loader();
  const bool is_static = loader.empty();
  std::snprintf(loader_.data(), loader_.size(), "%.*s", size_of(loader), loader.data());
  found.add("kind:         program, %s linked\n", is_static ? "statically" : "dynamically");
  if (!is_static) found.add("interpreter:  %s\n", loader_.data());
  found.add("architecture: %s\n", name.bytes);
  if (its != ours && !has_library_for(name.bytes)) {
    obstacle().add("it is for %s, the library for %s", name.bytes, ours.name().bytes);
  }
  // All of the file has to be read to tell that.
  const bool is_go = (is_static || thorough_) && program.is_go();
  if (is_static || is_go) {
    obstacle().add("it is %s%s%s", is_static ? "statically linked" : "",
                   is_static && is_go ? ", and " : "",
                   is_go ? "written in Go, which does not use libc to connect" : "");
  }
  const char* libc = name_of_file(loader_.data());
  if (is_of_another_libc(libc)) {
    obstacle().add("its libc (%s) is not the glibc that the library is for", libc);
  }
  // The loader for another architecture may be where qemu looks for it.
  if (its != ours) loader_[0] = '\0';
  if (loader_[0] != '\0') miss_interpreter(loader_.data());
}

// The loader lists what a program needs without running it.
void Examination::find_resolvers() {
  setenv("na_loader", loader_.data(), 1);
  setenv("na_file", path(), 1);
  FILE* list = popen("\"$na_loader\" --list \"$na_file\" 2>/dev/null", "re");
  if (list == nullptr) return;
  for (Path line; std::fgets(line.data(), line.size(), list) != nullptr;) {
    for (const auto& resolver : kResolvers) {
      if (std::strstr(line.data(), resolver.bytes) == nullptr) continue;
      const char* ports = secure_getenv("NEXTADDR_DNS_PORTS");
      found.add(
          "note:         it may look names up by %.*s: what a name server answers it on port %s is "
          "seen, but not over TLS or HTTPS\n",
          size_of(resolver.view()) - 3, resolver.bytes,
          ports == nullptr || *ports == '\0' ? "53" : ports);
    }
  }
  pclose(list);
}

bool Examination::keeps_environment() const {
  return std::system(
             "case \" $(postconf -h import_environment 2>/dev/null) \" in "
             "*' LD_PRELOAD '* | *' LD_PRELOAD='*) ;; *) false ;; esac") == 0;
}

void Examination::find_habits() {
  unsetenv("LD_PRELOAD");
  if (config().log_level != LogLevel::kOff && !config().log_to_syslog &&
      config().log_file == nullptr) {
    found.add(
        "note:         the log goes to its standard error: a daemon that puts something else in "
        "the "
        "place of that has no log, unless --log-file names a file, or syslog\n");
  }
  if (loader_[0] != '\0') find_resolvers();
  const char* name = name_of_file(path());
  if (std::strcmp(name, "postfix") == 0 || std::strcmp(name, "master") == 0) {
    if (keeps_environment()) return;
    found.add(
        "note:         what it starts is not helped: import_environment in main.cf must name "
        "LD_PRELOAD\n");
  } else if (std::strcmp(name, "exim") == 0 || std::strcmp(name, "exim4") == 0) {
    found.add(
        "note:         what it starts is not helped, unless keep_environment in its configuration "
        "has ^LD_PRELOAD\n");
  } else if (begins(name, "php")) {
    found.add(
        "note:         its extensions (curl, pgsql, mysqli, redis ..) are %s: it loads them with "
        "RTLD_DEEPBIND\n",
        config().deepbind ? "helped once they are loaded" : "not helped, by NEXTADDR_DEEPBIND");
  }
}

}  // namespace

void answer_run(const char* command) {
  const Examination it(command, false);
  if (it.obstacles.empty()) _exit(kAnswered);
  end(kAnswered, "warning: %s cannot be helped: %s\n", it.path(), it.obstacles.get());
}

void answer_check(const char* command) {
  Examination it(command, true);
  say_what_is_ignored();
  if (it.obstacles.empty()) it.find_habits();
  const LeftAlone why = left_alone(name_of_file(it.path()));
  if (why == LeftAlone::kAsProber) {
    it.obstacle().add(
        "it tells about one address, for which to move on to another would be a lie: such programs "
        "are left alone, unless NEXTADDR_ONLY_PROGRAMS names them");
  } else if (why == LeftAlone::kBySettings) {
    it.obstacle().add(
        "the settings leave it alone (NEXTADDR_OFF, NEXTADDR_ONLY_PROGRAMS or "
        "NEXTADDR_SKIP_PROGRAMS, in the environment or in /etc/nextaddr.conf)");
  }
  const bool helped = it.obstacles.empty();
  end(helped ? kAnswered : kNotHelped, "%s%s%s\n", it.found.get(),
      helped ? "can be helped" : "cannot be helped: ", it.obstacles.get());
}

}  // namespace nextaddr
