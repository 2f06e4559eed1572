// How a name of libc is exported from here. A hook is a thin door: it asks whether the call
// concerns us, and otherwise hands it to libc as it came. No decision is made in src/hooks.
#pragma once

// Everything else in the library is hidden (-fvisibility=hidden); hooks/exports.map lists the same
// names for the linker, and the tests hold the two together.
#define NEXTADDR_HOOK extern "C" __attribute__((visibility("default")))
