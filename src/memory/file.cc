#include "memory/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <string_view>

#include "config.h"
#include "errno_kept.h"
#include "memory/record.h"

namespace nextaddr {
namespace {

constexpr std::size_t kBucketBytes = kBucketEntries * kRecordSize;
// After the header.
constexpr off_t offset_of(std::size_t bucket) {
  return static_cast<off_t>(kRecordSize + bucket * kBucketBytes);
}

// When the file was last changed, as of the last reading; a change within the same tick of the
// kernel's clock as the reading may have been missed.
constinit std::atomic<std::int64_t> read_as_of_ns{0};
constexpr std::int64_t kTickNs = 10'000'000;

std::string_view view(const RecordText& text) { return {text.data(), text.size()}; }

// The file, open, if it is one of ours; it is made when it is to be written and there is none.
class File {
 public:
  explicit File(bool for_writing) {
    const char* path = config().memory_file;
    if (path == nullptr) return;
    // O_NONBLOCK: a FIFO somebody put there must not stop the program.
    const int flags = O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
    fd_ = open(path, flags | (for_writing ? O_RDWR | O_CREAT : O_RDONLY), 0600);
    if (fd_ < 0) return;
    struct stat status {};
    const bool private_file = fstat(fd_, &status) == 0 && S_ISREG(status.st_mode) &&
                              status.st_uid == geteuid() && (status.st_mode & 077) == 0 &&
                              status.st_nlink == 1;
    changed_ns_ = status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec;
    if (!private_file || !(has_header() || (for_writing && make(status.st_size)))) leave();
  }
  ~File() { leave(); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  [[nodiscard]] bool is_open() const { return fd_ >= 0; }
  [[nodiscard]] std::int64_t changed_ns() const { return changed_ns_; }

  // Held until the file is closed. False when another has it.
  [[nodiscard]] bool try_lock() const {
    struct flock whole {};
    whole.l_type = F_WRLCK;
    whole.l_whence = SEEK_SET;
    return fcntl(fd_, F_OFD_SETLK, &whole) == 0;
  }

  // What is no record counts as free.
  void read_bucket(std::size_t bucket, AddressBucket& out) const {
    char text[kBucketBytes];
    const ssize_t got = pread(fd_, text, sizeof text, offset_of(bucket));
    for (std::size_t i = 0; i < kBucketEntries; ++i) {
      const std::size_t end = (i + 1) * kRecordSize;
      const std::string_view line(text + end - kRecordSize, kRecordSize);
      if (got < static_cast<ssize_t>(end) || !parse_record(line, out[i])) out[i] = {};
    }
  }

  void write(std::size_t bucket, std::size_t place, const AddressEntry& entry) const {
    const RecordText text = format_record(entry);
    const off_t offset = offset_of(bucket) + static_cast<off_t>(place * kRecordSize);
    [[maybe_unused]] const ssize_t written = pwrite(fd_, text.data(), text.size(), offset);
  }

 private:
  void leave() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

  [[nodiscard]] bool has_header() const {
    RecordText first{};
    return pread(fd_, first.data(), first.size(), 0) == static_cast<ssize_t>(first.size()) &&
           view(first) == view(memory_file_header());
  }

  // An empty file becomes one of ours, and one of another version is begun anew.
  [[nodiscard]] bool make(off_t size) const {
    constexpr std::string_view kOurs = "nextaddr memory ";
    char begins[kOurs.size()];
    const bool another_version = pread(fd_, begins, sizeof begins, 0) == sizeof begins &&
                                 std::string_view(begins, sizeof begins) == kOurs;
    if (size != 0 && (!another_version || ftruncate(fd_, 0) != 0)) return false;
    const RecordText header = memory_file_header();
    return pwrite(fd_, header.data(), header.size(), 0) == static_cast<ssize_t>(header.size());
  }

  int fd_ = -1;
  std::int64_t changed_ns_ = 0;
};

}  // namespace

void read_memory_file(const AddressMemory& memory) {
  const ErrnoKept errno_kept;
  const File file(false);
  if (!file.is_open() || file.changed_ns() == read_as_of_ns.load(std::memory_order_relaxed)) return;
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  const std::int64_t age = now.tv_sec * 1'000'000'000 + now.tv_nsec - file.changed_ns();
  read_as_of_ns.store(age > kTickNs || age < 0 ? file.changed_ns() : 0, std::memory_order_relaxed);
  AddressBucket entries;
  for (std::size_t bucket = 0; bucket < kMemoryBuckets; ++bucket) {
    file.read_bucket(bucket, entries);
    for (const AddressEntry& entry : entries) {
      if (entry.port != 0) memory.adopt(entry);
    }
  }
}

void write_memory_file(const AddressEntry& entry) {
  const ErrnoKept errno_kept;
  const File file(true);
  if (!file.is_open()) return;
  // Without the lock two writers may choose the same place: then one of them is lost.
  static_cast<void>(file.try_lock());
  const std::size_t bucket = bucket_of(entry.address, entry.port);
  AddressBucket entries;
  file.read_bucket(bucket, entries);
  file.write(bucket, place_in(entries, entry.address, entry.port), entry);
}

bool claim_in_memory_file(AddressEntry& entry, std::uint64_t now_ms) {
  const ErrnoKept errno_kept;
  const File file(true);
  if (file.is_open()) {
    if (!file.try_lock()) return false;
    const std::size_t bucket = bucket_of(entry.address, entry.port);
    AddressBucket entries;
    file.read_bucket(bucket, entries);
    const std::size_t place = place_in(entries, entry.address, entry.port);
    const AddressEntry& there = entries[place];
    if (there.is_of(entry.address, entry.port) &&
        there.standing.updated_ms > entry.standing.updated_ms) {
      entry = there;
      if (turn_of(entry.standing, now_ms) != Turn::kClaim) return false;
    }
    claim(entry.standing, now_ms);
    file.write(bucket, place, entry);
    return true;
  }
  claim(entry.standing, now_ms);
  return true;
}

}  // namespace nextaddr
