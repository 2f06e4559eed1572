#include "engine/attempt_log.h"

namespace nextaddr {

void AttemptLog::begin(std::size_t position, std::uint64_t now_ms, const Fault& fault) {
  last_ = {static_cast<std::uint16_t>(position), 0, 0, fault};
  began_ms_ = now_ms;
  ++attempts_;
}

void AttemptLog::end(int error, std::uint64_t now_ms) {
  last_.error = error;
  last_.took_ms = static_cast<std::uint32_t>(now_ms - began_ms_);
  if (attempts_ != 0 && attempts_ <= kKept) kept_[attempts_ - 1] = last_;
}

void AttemptLog::note(std::size_t position, int error, std::uint32_t took_ms) {
  if (attempts_ == 0) return;
  if (attempts_ <= kKept) {
    kept_[attempts_ - 1] = {static_cast<std::uint16_t>(position), error, took_ms, {}};
  }
  ++attempts_;
}

}  // namespace nextaddr
