#include "engine/attempt_log.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <string>

#include "engine/outcome.h"

namespace nextaddr {
namespace {

TEST(AttemptLog, KeepsTheFirstAndTheLast) {
  for (const std::size_t count : {1u, 12u, 13u, 14u, 100u}) {
    AttemptLog log;
    for (std::size_t i = 0; i < count; ++i) {
      log.begin(i, 10 * i);
      log.end(i + 1 == count ? 0 : ECONNREFUSED, 10 * i + i);
    }
    std::string kept;
    std::string last;
    log.for_each(
        [&](const AttemptLog::Attempt& attempt) { kept += std::to_string(attempt.position) + " "; },
        [&](const AttemptLog::Attempt& attempt) {
          last = std::to_string(attempt.position) + " " + std::to_string(attempt.took_ms) + " " +
                 std::string(outcome_word(attempt.error));
        });
    EXPECT_EQ(log.attempts(), count);
    EXPECT_EQ(log.left_out(), count > 13 ? count - 13 : 0);
    EXPECT_EQ(kept, count == 1 ? "0 " : "0 1 2 3 4 5 6 7 8 9 10 11 ");
    const std::string end = std::to_string(count - 1);
    EXPECT_EQ(last, count <= 12 ? "" : end + " " + end + " connected");
  }
}

}  // namespace
}  // namespace nextaddr
