#include "trail.h"

#include "engine/outcome.h"
#include "log.h"

namespace nextaddr {

void Trail::begin(std::size_t position, std::uint64_t now_ms) {
  last_ = {static_cast<std::uint16_t>(position), 0, 0};
  began_ms_ = now_ms;
  ++attempts_;
}

void Trail::end(int error, std::uint64_t now_ms) {
  last_.error = error;
  last_.took_ms = static_cast<std::uint32_t>(now_ms - began_ms_);
  if (attempts_ <= kKept) kept_[attempts_ - 1] = last_;
}

void Trail::log(const HostTable& table, const DestinationList& list, std::uint16_t port,
                int error) const {
  LogLine line;
  NameBuffer host{};
  line << table.host_name(list, host) << ":" << std::uint64_t{port};
  const char* separator = " ";
  const auto add = [&](const Attempt& attempt) {
    Address address;
    line << separator;
    separator = ", ";
    if (table.address_at(list, attempt.position, address)) line << address;
    line << " " << outcome_word(attempt.error);
    if (attempt.error != kParked) line << " " << std::uint64_t{attempt.took_ms} << " ms";
  };
  for (std::size_t i = 0; i < attempts_ && i < kKept; ++i) add(kept_[i]);
  if (attempts_ > kKept + 1) line << ", " << std::uint64_t{attempts_ - kKept - 1} << " more";
  if (attempts_ > kKept) add(last_);
  if (error != 0) line << ": all failed, " << error_name(error);
  line.write();
}

}  // namespace nextaddr
