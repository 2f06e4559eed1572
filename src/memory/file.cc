#include "memory/file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <string_view>

#include "config.h"
#include "log/quiet_write.h"
#include "memory/record.h"
#include "os/clock.h"
#include "os/kernel.h"
#include "process/process.h"

namespace nextaddr {
namespace {

constexpr std::size_t kBucketBytes = kBucketEntries * kRecordSize;
// After the header.
constexpr off_t offset_of(std::size_t bucket) {
  return static_cast<off_t>(kRecordSize + bucket * kBucketBytes);
}

// When the file was last changed, as of the last reading; a change within the same tick of the
// kernel's clock as the reading may have been missed.
constinit std::atomic<std::uint64_t> read_as_of_us{0};
constexpr std::uint64_t kTickUs = 10'000;

std::string_view view(const RecordText& text) { return {text.data(), text.size()}; }

std::uint64_t changed_us(const struct stat& status) {
  return static_cast<std::uint64_t>(status.st_mtim.tv_sec) * 1'000'000 +
         static_cast<std::uint64_t>(status.st_mtim.tv_nsec) / 1000;
}

// The bytes that stand where the header belongs; "" when there are fewer.
std::string_view read_header(int fd, RecordText& buffer) {
  const ssize_t got = pread(fd, buffer.data(), buffer.size(), 0);
  return got == static_cast<ssize_t>(buffer.size()) ? view(buffer) : std::string_view{};
}

// An empty file becomes one of ours, and one of another version is begun anew.
bool make_header(int fd, const struct stat& status, std::string_view found) {
  if (status.st_size != 0 && !is_memory_file_header(found)) return false;
  if (status.st_size != 0 && ftruncate(fd, 0) != 0) return false;
  if (write_quietly(fd, memory_file_header().data(), kRecordSize, 0)) return true;
  // Half a header would be a file that is nobody's.
  static_cast<void>(ftruncate(fd, 0));
  return false;
}

// The file, if it is one of ours; it is made when it is to be written and there is none. -1: none.
int open_file(bool for_writing, struct stat& status) {
  const char* path = config().memory_file;
  if (path == nullptr) return -1;
  // O_NONBLOCK: a FIFO somebody put there must not stop the program.
  const int flags = O_NOFOLLOW | O_NOCTTY | O_NONBLOCK;
  const int fd =
      open_unless_sandboxed(path, flags | (for_writing ? O_RDWR | O_CREAT : O_RDONLY), 0600);
  if (fd < 0) return -1;
  bool ours = kernel::fstat(fd, status) == 0 && S_ISREG(status.st_mode) &&
              status.st_uid == geteuid() && (status.st_mode & 077) == 0 && status.st_nlink == 1;
  if (ours) {
    RecordText buffer;
    const std::string_view found = read_header(fd, buffer);
    ours = found == view(memory_file_header()) || (for_writing && make_header(fd, status, found));
  }
  if (ours) return fd;
  kernel::close(fd);
  return -1;
}

// Locks the whole file, or unlocks it. The lock is one of the open file description (F_OFD_SETLK),
// which ends with the process; a forked child would keep it. False when another process has it.
bool lock(int fd, short type) {
  struct flock whole {};
  whole.l_type = type;
  whole.l_whence = SEEK_SET;
  return kernel::fcntl(fd, F_OFD_SETLK, &whole) == 0;
}

// The first bucket at or after this one where the file has anything but a hole; the end: there is
// none. Each process reads the file once, and most of it is holes.
std::size_t next_written(int fd, std::size_t bucket) {
  const off_t found = lseek(fd, offset_of(bucket), SEEK_DATA);
  // Where the file system does not tell, all of it counts as written.
  if (found < 0) return errno == ENXIO ? kMemoryBuckets : bucket;
  const auto at = static_cast<std::size_t>(found);
  return at < kRecordSize ? 0 : std::max(bucket, (at - kRecordSize) / kBucketBytes);
}

// Reads a bucket. A place that has no record counts as free. One record is read at a time, because
// the stack may be small.
void read_bucket(int fd, std::size_t bucket, AddressBucket& out) {
  off_t at = offset_of(bucket);
  for (AddressEntry& entry : out) {
    RecordText text;
    const ssize_t got = pread(fd, text.data(), text.size(), at);
    if (got != static_cast<ssize_t>(text.size()) || !parse_record(view(text), entry)) entry = {};
    at += kRecordSize;
  }
}

void for_each_entry(int fd, void (*each)(void* context, const AddressEntry& entry), void* context) {
  AddressBucket entries;
  for (std::size_t bucket = next_written(fd, 0); bucket < kMemoryBuckets;
       bucket = next_written(fd, bucket + 1)) {
    read_bucket(fd, bucket, entries);
    for (const AddressEntry& entry : entries) {
      if (entry.key.port != 0) each(context, entry);
    }
  }
}

}  // namespace

void read_memory_file(const AddressMemory& memory) {
  const ErrnoKept errno_kept;
  const Uninterrupted uninterrupted;
  struct stat status {};
  const int fd = open_file(false, status);
  if (fd < 0) return;
  const std::uint64_t changed = changed_us(status);
  if (changed != read_as_of_us.load(std::memory_order_relaxed)) {
    const bool settled = us_of(CLOCK_REALTIME) - changed > kTickUs;
    read_as_of_us.store(settled ? changed : 0, std::memory_order_relaxed);
    AddressMemory to = memory;
    for_each_entry(
        fd,
        [](void* context, const AddressEntry& entry) {
          static_cast<const AddressMemory*>(context)->adopt(entry);
        },
        &to);
  }
  kernel::close(fd);
}

int look_at_memory_file(void (*each)(void* context, const AddressEntry& entry), void* context) {
  const int fd = open(config().memory_file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return errno;
  struct stat status {};
  RecordText buffer;
  int error = kernel::fstat(fd, status) == 0 && S_ISREG(status.st_mode) ? EINVAL : EACCES;
  const ssize_t got = error == EINVAL ? pread(fd, buffer.data(), buffer.size(), 0) : -1;
  if (got > 0 && begins_as_memory_file({buffer.data(), static_cast<std::size_t>(got)})) {
    error = 0;
    for_each_entry(fd, each, context);
  }
  kernel::close(fd);
  return error;
}

MemoryFile::MemoryFile(AddressEntry& entry) {
  struct stat status {};
  fd_ = open_file(true, status);
  if (fd_ < 0) return;
  locked_ = lock(fd_, F_WRLCK);
  bucket_ = bucket_of(entry.key.address, entry.key.port);
  AddressBucket entries;
  read_bucket(fd_, bucket_, entries);
  place_ = place_in(entries, entry.key);
  const AddressEntry& there = entries[place_];
  if (there.key == entry.key) entry.catch_up(there);
}

MemoryFile::~MemoryFile() {
  if (locked_) lock(fd_, F_UNLCK);
  if (fd_ >= 0) kernel::close(fd_);
}

void MemoryFile::write(const AddressEntry& entry) const {
  if (fd_ < 0) return;
  // Without the lock two writers may choose the same place: then one of them is lost.
  const RecordText text = format_record(entry);
  write_quietly(fd_, text.data(), text.size(),
                offset_of(bucket_) + static_cast<off_t>(place_ * kRecordSize));
}

}  // namespace nextaddr
