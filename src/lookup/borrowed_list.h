// A list of addresses for the time of a lookup: 20 KiB, for which a thread's stack may have no room
// (some programs give 16 KiB). One is kept for the next lookup; who comes while it is lent gets
// another. Not async-signal-safe, as lookups are not.
#pragma once

#include "engine/address.h"

namespace nextaddr {

class BorrowedList {
 public:
  BorrowedList();
  ~BorrowedList();
  BorrowedList(const BorrowedList&) = delete;
  BorrowedList& operator=(const BorrowedList&) = delete;

  // The list, empty at first. Null: there is no memory.
  [[nodiscard]] AddressList* get() const { return list_; }

 private:
  AddressList* list_;
};

}  // namespace nextaddr
