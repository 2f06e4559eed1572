// libFuzzer: the host table, played by a script of lookups, connects and walks, against a plain
// model of what it promises; with writers that die; and with another process that writes anything
// anywhere into its memory. Must never lead to a stranger, be hosts forgotten or not remembered at
// all; nor, as long as none is, pass over an address all holders have. Written over by others it
// may answer anything, but never crash, never leave its memory, and never hang.
#include "engine/host_table.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <map>
#include <memory>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "../known_answer.h"
#include "engine/text.h"
#include "fuzz.h"

using namespace nextaddr;

namespace {

// ---- The memory: of the layout that src/engine/host_table.cc gives it ----

// lock, building, published, hosts, seed, shared; pages with marks
constexpr std::size_t kHeader = 6 + 64;
constexpr std::size_t kPublished = 2;
constexpr std::size_t kBuckets = std::size_t{1} << 16;
constexpr std::size_t kHalfWords = std::size_t{2} << 20;
constexpr std::size_t kHalf = 1 + 2 * kBuckets + kHalfWords;  // the words used come first
constexpr std::size_t kAddressBuckets = 1;
constexpr std::size_t kHostBuckets = kAddressBuckets + kBuckets;
constexpr std::size_t kRecords = kHostBuckets + kBuckets;
// Of a record, words that say how long it is and whether it counts.
constexpr std::size_t kShape = 1;
constexpr std::size_t kState = 2;
constexpr std::size_t kLastUse = 3;
constexpr std::size_t kRecordHeader = 10;
constexpr std::uint32_t kLongestShape = 1024u << 16 | 255;
constexpr std::size_t kLongestRecord = kRecordHeader + 64 + 32 + 1024 * 7;
constexpr std::uint32_t kNamedShape = 255;  // a name without an address
constexpr std::size_t kNamedRecord = kRecordHeader + 64;
constexpr std::size_t kShortestRecord = kRecordHeader;
// The marks of what was forgotten lie behind the halves.
constexpr std::size_t kDoors = std::size_t{8} << 20;

// The bit that the kernel sets in the lock of a thread that has died (FUTEX_OWNER_DIED).
constexpr std::uint32_t kOwnerDied = 0x4000'0000;

class SharedMemory {
 public:
  SharedMemory() {
    // The memory lies between pages that must not be touched.
    constexpr std::size_t kGuard = std::size_t{1} << 20;
    size_ = (HostTable::memory_size() + 4095) / 4096 * 4096;
    void* all = mmap(nullptr, size_ + 2 * kGuard, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require(all != MAP_FAILED);
    start_ = static_cast<char*>(all) + kGuard;
    require(mprotect(start_, size_, PROT_READ | PROT_WRITE) == 0);
    madvise(start_, size_, MADV_NOHUGEPAGE);
    require(HostTable::memory_size() == (4 * (kHeader + 2 * kHalf) + 63) / 64 * 64 + kDoors);
  }
  // Makes the memory zeros again. Only pages that were touched cost anything.
  void forget() const { require(madvise(start_, size_, MADV_DONTNEED) == 0); }
  [[nodiscard]] HostTable table() const {
    return HostTable(reinterpret_cast<HostTable::Memory*>(start_));
  }
  [[nodiscard]] std::uint32_t* words() const { return reinterpret_cast<std::uint32_t*>(start_); }
  [[nodiscard]] std::size_t word_count() const { return HostTable::memory_size() / 4; }
  // The half that is being read.
  [[nodiscard]] std::uint32_t* half() const {
    return words() + kHeader + (words()[kPublished] & 1) * kHalf;
  }

 private:
  char* start_ = nullptr;
  std::size_t size_ = 0;
};

// ---- The names and addresses of the script: one character each ----

const std::string& host_named(std::uint32_t number) {
  static const std::string names[] = {"a",
                                      "b.example",
                                      "B.Example.",
                                      "c",
                                      "c.",
                                      "db-1.example.org",
                                      "198.51.100.1",
                                      std::string(255, 'x'),
                                      std::string(255, 'X') + ".",
                                      std::string(256, 'x'),
                                      "",
                                      "."};
  return names[number % std::size(names)];
}

Address ipv4(std::uint32_t number) {
  const std::uint32_t bytes = htonl(number);
  return address_from_ipv4(&bytes);
}

// '0' to '9', 'a' to 'm' (IPv6), 'n' to 'z' (IPv6 on different links); 'A' to 'Z' are forty of
// IPv4.
bool is_address(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z'); }
Address address_named(char c) {
  if (c >= '0' && c <= '9') return ipv4(0x0a000000u + static_cast<std::uint32_t>(c - '0'));
  const auto letter = static_cast<std::uint32_t>(c & 31);
  Address address;
  if (letter <= 13) {
    address.words = {htonl(0x20010db8), 0, 0, htonl(letter)};
  } else {
    address.words = {htonl(0xfe800000), 0, 0, htonl(1)};
    address.scope = letter;
  }
  return address;
}

const HostFilter& filter_named(std::uint32_t number) {
  static const HostFilter filters[] = {{}, {{}, "b*:443,c"}, {"a,b*:80", {}}, {{}, "*:443"}};
  return filters[number % std::size(filters)];
}

// ---- The model ----

using Addresses = std::vector<Address>;

bool has(const Addresses& list, const Address& address) {
  return std::find(list.begin(), list.end(), address) != list.end();
}

// The answer of one lookup, as a connect sees it.
struct Answer {
  std::string name;
  Addresses addresses;
  bool left_alone = false;
  std::uint32_t walk_pid = 0;
  std::uint32_t walk_ms = 0;
  std::set<std::size_t> walked;
};

class Model {
 public:
  explicit Model(const HostFilter& filter, std::uint32_t generation = 0)
      : filter_(&filter), generation_(generation) {}

  // True when the answer must be remembered.
  bool learn(std::string name, const Addresses& asked, LookupFamilies families) {
    if (name.size() > 1 && name.back() == '.') name.pop_back();
    if (name.empty() || name.size() > 255 || asked.empty()) return false;
    const auto known = std::find_if(answers_.begin(), answers_.end(), [&](const auto& answer) {
      return std::equal(name.begin(), name.end(), answer->name.begin(), answer->name.end(),
                        [](char a, char b) { return lower_case(a) == lower_case(b); });
    });
    auto answer = std::make_shared<Answer>();
    answer->name = name;
    answer->addresses = asked;
    answer->left_alone = filter_->leaves_alone(name, 0);
    if (known != answers_.end()) {
      for (const Address& address : (*known)->addresses) {
        const bool answered = address.is_ipv4() ? families.ipv4 : families.ipv6;
        if (!answered && !has(answer->addresses, address)) answer->addresses.push_back(address);
      }
      for (const Address& address : (*known)->addresses) {
        if (!has(answer->addresses, address)) former_[key_of(address)].insert(lower_case_of(name));
      }
      if ((*known)->addresses == answer->addresses && !is_older_than_a_sharer(known)) {
        (*known)->walk_pid = 0;
        return true;
      }
      answers_.erase(known);
    }
    if (full_) start_half();
    answers_.push_back(answer);
    return true;
  }

  // No record fits any more: the next that is new moves all to the other half.
  void fill() { full_ = true; }

  // The program has this answer, but the table may have forgotten it, now or before.
  void learn_in_vain(std::string name, const Addresses& addresses) {
    forgets_ = true;
    if (name.size() > 1 && name.back() == '.') name.pop_back();
    auto answer = std::make_shared<Answer>();
    answer->name = name;
    answer->addresses = addresses;
    in_vain_.push_back(answer);
  }

  // From now on the table may know less than this model, but must lead nowhere else.
  void forget() { forgets_ = true; }
  [[nodiscard]] bool forgets() const { return forgets_; }

  // What the table says of a host that holds an address: one of those that it was told.
  [[nodiscard]] std::shared_ptr<Answer> named(std::string_view name) const {
    const auto found = std::find_if(answers_.rbegin(), answers_.rend(),
                                    [&](const auto& answer) { return answer->name == name; });
    return found == answers_.rend() ? nullptr : *found;
  }

  [[nodiscard]] std::shared_ptr<Answer> newest_with(const Address& address) const {
    const auto newest = std::find_if(answers_.rbegin(), answers_.rend(), [&](const auto& answer) {
      return has(answer->addresses, address);
    });
    return newest == answers_.rend() ? nullptr : *newest;
  }

  [[nodiscard]] bool left_alone(const Address& address, std::uint16_t port) const {
    return std::any_of(answers_.begin(), answers_.end(), [&](const auto& answer) {
      return has(answer->addresses, address) &&
             (answer->left_alone || filter_->leaves_alone(answer->name, port));
    });
  }

  // True when every host that has the one address has the other, too.
  [[nodiscard]] bool is_shared(const Address& requested, const Address& other) const {
    const auto allows = [&](const auto& answer) {
      return !has(answer->addresses, requested) || has(answer->addresses, other);
    };
    return std::all_of(answers_.begin(), answers_.end(), allows) &&
           std::all_of(in_vain_.begin(), in_vain_.end(), allows);
  }

  // Every host that once had the requested address has it now, and the other one too.
  [[nodiscard]] bool is_shared_by_former(const Address& requested, const Address& other) const {
    const auto former = former_.find(key_of(requested));
    return former == former_.end() ||
           std::all_of(former->second.begin(), former->second.end(), [&](const auto& name) {
             return std::any_of(answers_.begin(), answers_.end(), [&](const auto& answer) {
               return lower_case_of(answer->name) == name && has(answer->addresses, requested) &&
                      has(answer->addresses, other);
             });
           });
  }

  // Failover may go somewhere: of the hosts that once had the address one is remembered at most.
  [[nodiscard]] bool is_open(const Address& requested) const {
    const auto former = former_.find(key_of(requested));
    return former == former_.end() ||
           (former->second.size() == 1 && is_shared_by_former(requested, requested));
  }

  // Calls each(name, position) for the hosts that have it, the newest first.
  template <typename Each>
  void for_each_holder(const Address& address, Each each) const {
    for (auto answer = answers_.rbegin(); answer != answers_.rend(); ++answer) {
      const Addresses& list = (*answer)->addresses;
      const auto found = std::find(list.begin(), list.end(), address);
      if (found != list.end())
        each((*answer)->name, static_cast<std::size_t>(found - list.begin()));
    }
  }

  [[nodiscard]] std::uint32_t generation() const { return generation_; }

 private:
  using Answers = std::vector<std::shared_ptr<Answer>>;
  using Key = std::pair<std::array<std::uint32_t, 4>, std::uint32_t>;

  static Key key_of(const Address& address) { return {address.words, address.scope}; }
  static std::string lower_case_of(std::string name) {
    for (char& c : name) c = lower_case(c);
    return name;
  }

  // True when another host has been looked up since that has one of the addresses, too.
  [[nodiscard]] bool is_older_than_a_sharer(Answers::const_iterator answer) const {
    return std::any_of(answer + 1, answers_.end(), [&](const auto& newer) {
      return std::any_of(
          newer->addresses.begin(), newer->addresses.end(),
          [&](const Address& address) { return has((*answer)->addresses, address); });
    });
  }

  // The answers live on as copies; who holds an old one goes on with that.
  void start_half() {
    for (auto& answer : answers_) answer = std::make_shared<Answer>(*answer);
    ++generation_;
    full_ = false;
  }

  const HostFilter* filter_;
  Answers answers_;                              // oldest first
  Answers in_vain_;                              // not remembered
  std::map<Key, std::set<std::string>> former_;  // who had it in an answer before the last
  std::uint32_t generation_;
  bool full_ = false;
  bool forgets_ = false;
};

// ---- One script ----

double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

class Play {
 public:
  Play(const SharedMemory& memory, Choices choices)
      : memory_(memory),
        table_(memory.table()),
        choices_(choices),
        filter_(filter_named(choices_.below(4))),
        model_(filter_),
        letter_addresses_(choices.rest().find('!') == std::string_view::npos ? 40 : 1) {}

  void play() {
    double hostile_seconds = 0;
    for (int steps = 0; steps < 200 && !choices_.ended(); ++steps) {
      if (!hostile_) {
        step();
        continue;
      }
      const double began = processor_seconds();
      step();
      const double took = processor_seconds() - began;
      require(took < kSecondsAtMost);
      hostile_seconds += took;
      if (hostile_seconds > kHostileSeconds) return;
    }
  }

 private:
  // The time limit of one call on damaged memory, sanitizers included: some walks go through all of
  // it.
  static constexpr double kSecondsAtMost = 1;
  // How many such calls are enough for one input.
  static constexpr double kHostileSeconds = 0.005;
  // Clearing a half takes longer than all else.
  static constexpr int kMostRewritings = 3;

  // A connect that is under way: what it holds, and of which answer.
  struct Connect {
    DestinationList list;
    std::shared_ptr<Answer> answer;
    bool known = false;
  };

  void step() {
    switch (choices_.next()) {
      case 'l':
        return learn();
      case 'c':
        return connect();
      case 'r':
        return read(a_connect());
      case 'x':
        return exhaust(a_connect());
      case 'w':
        return walk(a_connect());
      case 't': {
        constexpr std::uint32_t kTimes[] = {1, 1000, 9999, 10'000, 10'001, 1u << 31, ~0u};
        now_ms_ += choices_.of(kTimes);
        return;
      }
      case 'f':
        return fill();
      case 'F':
        return crowd();
      case 's':
        return learn(false);
      case 'o':
        return die();
      case '!':
        return write_anything();
      default:  // spaces and newlines, for instance
        return;
    }
  }

  std::uint32_t a_pid() { return 1 + choices_.below(2); }
  Connect& a_connect() { return connects_[choices_.below(std::size(connects_))]; }
  [[nodiscard]] bool is_modelled() const { return !hostile_; }

  // The lookup is made in vain: another process holds the lock for too long.
  void learn(bool remembered = true) {
    const std::string& name = host_named(choices_.below(36));
    const char asked = choices_.next();
    const LookupFamilies families{asked != '6', asked != '4'};
    AddressList list;
    Addresses addresses;
    for (char c = choices_.next(); is_address(c) || (c >= 'A' && c <= 'F'); c = choices_.next()) {
      const auto letter = static_cast<std::uint32_t>(c - 'A');
      for (std::uint32_t i = 0; i < (is_address(c) ? 1 : letter_addresses_); ++i) {
        const Address address =
            is_address(c) ? address_named(c) : ipv4(0xc0000200 + letter * 8 + i);
        list.add(address);
        if (!has(addresses, address)) addresses.push_back(address);
      }
    }
    if (!remembered) {
      table_.shut(list);
      if (is_modelled() && !addresses.empty()) model_.learn_in_vain(name, addresses);
      return;
    }
    // Somebody has written over the lock.
    if (hostile_) *table_.lock_word() = 0;
    // What is known is not learned once more: that must make no difference.
    bool learned = knows(name, addresses, families);
    if (!learned) {
      require(table_.try_lock(1));
      learned = table_.learn(name, list, families, filter_);
      table_.unlock(1);
    }
    if (is_modelled()) require(learned == model_.learn(name, addresses, families));
  }

  [[nodiscard]] bool knows(const std::string& name, const Addresses& addresses,
                           LookupFamilies families) const {
    return table_knows(table_, name, addresses, families);
  }

  using Holders = std::vector<std::pair<std::string, std::size_t>>;

  [[nodiscard]] Holders holders_of(const Address& address) const {
    Holders holders;
    const auto note = [](void* context, std::string_view host, std::size_t position) {
      auto& all = *static_cast<Holders*>(context);
      require(host.size() <= std::tuple_size_v<NameBuffer> && position < kMaxAddresses);
      // In damaged memory there may be many holders.
      if (all.size() < 100) all.emplace_back(host, position);
      return false;
    };
    require(!table_.any_holder(address, note, &holders));
    return holders;
  }

  void connect() {
    const char named = choices_.next();
    const Address requested = address_named(is_address(named) ? named : '0');
    constexpr std::uint16_t kPorts[] = {80, 443, 1};
    const std::uint16_t port = choices_.of(kPorts);
    DestinationList list;
    const bool may = table_.may_fail_over(requested);
    const bool known = table_.destinations(requested, port, filter_, list);
    Connect& connect = connects_[next_connect_++ % std::size(connects_)];
    connect = {list, nullptr, known};
    if (known) require(list.candidates.has(list.requested));
    const Holders holders = holders_of(requested);
    if (!is_modelled()) return;
    if (model_.forgets()) return only_to_its_own(connect, requested);
    Holders expected;
    model_.for_each_holder(requested, [&](const std::string& name, std::size_t position) {
      expected.emplace_back(name, position);
    });
    require(holders == expected);

    connect.answer = model_.newest_with(requested);
    const bool left_alone = model_.left_alone(requested, port);
    const bool open = connect.answer != nullptr && model_.is_open(requested);
    require(known == (open && !left_alone));
    require(may == (open && connect.answer->addresses.size() > 1 && !connect.answer->left_alone));
    if (!known) return;
    require(!(list.candidates.count() > 1) || may);
    const Addresses& addresses = connect.answer->addresses;
    for (std::size_t i = 0; i < kMaxAddresses; ++i) {
      const bool there = i < addresses.size();
      require(list.candidates.has(i) == (there && model_.is_shared(requested, addresses[i])));
      if (list.candidates.has(i)) require(model_.is_shared_by_former(requested, addresses[i]));
      require(list.ipv6.has(i) == (there && !addresses[i].is_ipv4()));
      if (there) require((i == list.requested) == (addresses[i] == requested));
    }
    require(list.generation == model_.generation());
    read(connect);
  }

  // A table that may have forgotten anything leads only to addresses of an answer that has the
  // requested one, and that everybody has who ever had that.
  void only_to_its_own(Connect& connect, const Address& requested) {
    if (!connect.known) return;
    NameBuffer buffer;
    connect.answer = model_.named(table_.host_name(connect.list, buffer));
    require(connect.answer != nullptr);
    for (std::size_t i = 0; i < kMaxAddresses; ++i) {
      if (!connect.list.candidates.has(i)) continue;
      Address address;
      require(table_.address_at(connect.list, i, address));
      require(has(connect.answer->addresses, address) && model_.is_shared(requested, address) &&
              model_.is_shared_by_former(requested, address));
    }
    connect.known = false;
  }

  void read(const Connect& connect) const {
    if (!connect.known) return;
    NameBuffer buffer;
    const std::string_view name = table_.host_name(connect.list, buffer);
    require(name.empty() || (name.data() == buffer.data() && name.size() <= buffer.size()));
    Address address;
    if (!is_modelled()) {
      table_.address_at(connect.list, 0, address);
      table_.address_at(connect.list, kMaxAddresses - 1, address);
      return;
    }
    // Two halves: what was read from one is there until the second change after.
    const bool there = model_.generation() - connect.list.generation <= 1;
    require(name == (there ? connect.answer->name : ""));
    for (std::size_t i = 0; i < connect.answer->addresses.size(); ++i) {
      require(table_.address_at(connect.list, i, address) == there);
      if (there) require(address == connect.answer->addresses[i]);
    }
  }

  // All addresses of the list have failed.
  void exhaust(const Connect& connect) {
    const std::uint32_t pid = a_pid();
    if (!connect.known) return;
    table_.note_exhausted(connect.list, pid, now_ms_);
    if (is_modelled() && is_there(connect)) {
      connect.answer->walk_pid = pid;
      connect.answer->walk_ms = now_ms_;
      connect.answer->walked = {connect.list.requested};
    }
  }

  // The program asks for one more of the list by itself.
  void walk(const Connect& connect) {
    const std::uint32_t pid = a_pid();
    if (!connect.known) return;
    const bool walks = table_.walks_exhausted(connect.list, pid, now_ms_);
    if (is_modelled()) {
      const Answer& answer = *connect.answer;
      require(walks ==
              (is_there(connect) && answer.walk_pid == pid && now_ms_ - answer.walk_ms <= 10'000 &&
               answer.walked.count(connect.list.requested) == 0));
    }
    if (!walks) return;
    table_.note_walked(connect.list, now_ms_);
    if (!is_modelled()) return;
    connect.answer->walked.insert(connect.list.requested);
    connect.answer->walk_ms = now_ms_;
  }

  [[nodiscard]] bool is_there(const Connect& connect) const {
    return model_.generation() - connect.list.generation <= 1;
  }

  // As after very many lookups: dead records up to the end of the half.
  void fill() {
    if (!is_modelled() || ++rewritings_ > kMostRewritings) return;
    std::uint32_t* half = memory_.half();
    std::uint32_t* records = half + kRecords;
    std::size_t used = std::max<std::size_t>(half[0], 1);
    while (used + kShortestRecord <= kHalfWords) {
      const bool is_long = used + kLongestRecord <= kHalfWords;
      records[used + kShape] = is_long ? kLongestShape : 0;
      records[used + kState] = 0;
      used += is_long ? kLongestRecord : kShortestRecord;
    }
    half[0] = static_cast<std::uint32_t>(used);
    model_.fill();
  }

  // As after very many lookups of others that are all in use: there is room for nothing but these.
  void crowd() {
    if (!is_modelled() || ++rewritings_ > kMostRewritings) return;
    std::uint32_t* half = memory_.half();
    std::uint32_t* records = half + kRecords;
    std::size_t used = std::max<std::size_t>(half[0], 1);
    while (used + kNamedRecord <= kHalfWords) {
      records[used + kShape] = kNamedShape;
      records[used + kState] = 1;
      records[used + kLastUse] = static_cast<std::uint32_t>(used);
      used += kNamedRecord;
    }
    half[0] = static_cast<std::uint32_t>(used);
    model_.forget();
  }

  // A writer has died, and the kernel says so.
  void die() {
    if (hostile_) return;
    require(table_.try_lock(7));
    require(!table_.try_lock(8));
    table_.unlock(8);
    require(*table_.lock_word() == 7);
    *table_.lock_word() = kOwnerDied;
    require(table_.try_lock(1));
    require(!table_.try_lock(1));
    table_.unlock(1);
  }

  void write_anything() {
    hostile_ = true;
    std::uint32_t* half = memory_.half();
    std::uint32_t* place = nullptr;
    switch (choices_.next()) {
      case 'h':
        place = memory_.words() + choices_.below(kHeader);
        break;
      case 'u':
        place = half;
        break;
      case 'b': {
        const char named = choices_.next();
        const Address address = address_named(is_address(named) ? named : '0');
        place = half + kAddressBuckets + hash_of(address) % kBuckets;
        break;
      }
      case 'r':
        place = half + kRecords + choices_.below(256);
        break;
      case 'R':
        place = half + kRecords + choices_.word() % 4096;
        break;
      default:
        place = memory_.words() + choices_.word() % memory_.word_count();
    }
    switch (choices_.next()) {
      case 'o':
        *place = choices_.below(256);
        break;
      case '+':
        *place += choices_.below(256);
        break;
      case '^':
        *place ^= 1u << choices_.below(32);
        break;
      case 'e':
        *place = kHalfWords - choices_.below(256);
        break;
      case 'm':
        *place = ~0u;
        break;
      default:
        *place = choices_.word();
    }
  }

  const SharedMemory& memory_;
  HostTable table_;
  Choices choices_;
  const HostFilter& filter_;
  Model model_;
  std::uint32_t letter_addresses_;
  Connect connects_[4];
  std::size_t next_connect_ = 0;
  std::uint32_t now_ms_ = 1000;
  int rewritings_ = 0;
  bool hostile_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const SharedMemory memory;
  Play(memory, Choices(data, size)).play();
  memory.forget();
  return 0;
}
