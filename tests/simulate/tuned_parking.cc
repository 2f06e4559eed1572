#include "tuned_parking.h"

#include <algorithm>

#include "engine/schedule.h"

namespace real = nextaddr;

#define nextaddr no_jitter
#define LONGEST_MS 120000
#define JITTER 0
#define CLAIM_MS 10000
#include "parking_variant.inc"

#define nextaddr jitter_10
#define LONGEST_MS 120000
#define JITTER 10
#define CLAIM_MS 10000
#include "parking_variant.inc"

#define nextaddr jitter_50
#define LONGEST_MS 120000
#define JITTER 50
#define CLAIM_MS 10000
#include "parking_variant.inc"

#define nextaddr longest_1_min
#define LONGEST_MS 60000
#define JITTER 20
#define CLAIM_MS 10000
#include "parking_variant.inc"

#define nextaddr longest_5_min
#define LONGEST_MS 300000
#define JITTER 20
#define CLAIM_MS 10000
#include "parking_variant.inc"

#define nextaddr longest_10_min
#define LONGEST_MS 600000
#define JITTER 20
#define CLAIM_MS 10000
#include "parking_variant.inc"

#define nextaddr claim_2_seconds
#define LONGEST_MS 120000
#define JITTER 20
#define CLAIM_MS 2000
#include "parking_variant.inc"

#define nextaddr claim_30_seconds
#define LONGEST_MS 120000
#define JITTER 20
#define CLAIM_MS 30000
#include "parking_variant.inc"

namespace simulate {

const Parking kNoJitter{no_jitter::ask_order_of, no_jitter::fail};
const Parking kJitter10{jitter_10::ask_order_of, jitter_10::fail};
const Parking kJitter50{jitter_50::ask_order_of, jitter_50::fail};
const Parking kLongest1Min{longest_1_min::ask_order_of, longest_1_min::fail};
const Parking kLongest5Min{longest_5_min::ask_order_of, longest_5_min::fail};
const Parking kLongest10Min{longest_10_min::ask_order_of, longest_10_min::fail};
const Parking kClaim2Seconds{claim_2_seconds::ask_order_of, claim_2_seconds::fail};
const Parking kClaim30Seconds{claim_30_seconds::ask_order_of, claim_30_seconds::fail};

}  // namespace simulate
