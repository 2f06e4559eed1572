#include "engine/outcome.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace nextaddr {
namespace {

TEST(Outcome, WhatMovesOn) {
  for (const int error : {ECONNREFUSED, ETIMEDOUT, EHOSTUNREACH, EHOSTDOWN, ENETUNREACH, ENETDOWN,
                          EADDRNOTAVAIL, EACCES, EPERM, EINVAL}) {
    EXPECT_TRUE(moves_on(error)) << error;
  }
  for (const int error : {0, ECONNRESET, EBADF, ENOTSOCK, EFAULT, EISCONN, EALREADY, EAFNOSUPPORT,
                          EINTR, EAGAIN, ENOBUFS, ENOMEM, EINPROGRESS, 9999}) {
    EXPECT_FALSE(moves_on(error)) << error;
  }
  EXPECT_EQ(outcome_word(ECONNREFUSED), "refused");
  EXPECT_EQ(error_name(EHOSTUNREACH), "EHOSTUNREACH");
  EXPECT_EQ(error_name(9999), "errno");
}

TEST(Outcome, EveryFailureHasANameOfItsOwn) {
  int failures = 0;
  for (int error = 1; error < 200; ++error) {
    if (error_name(error) == "errno") continue;
    if (is_failure(error)) {
      EXPECT_EQ(error_number(error_name(error)), error);
      ++failures;
    } else {
      EXPECT_EQ(error_number(error_name(error)), 0);
    }
  }
  EXPECT_GE(failures, 15);
  EXPECT_EQ(error_number("0"), 0);
  EXPECT_EQ(error_number("errno"), 0);
}

}  // namespace
}  // namespace nextaddr
