// The flags of dlopen(3), by their names joined by '+'.
#pragma once

#include <dlfcn.h>

#include <map>
#include <sstream>
#include <string>

inline int dlopen_flags(const std::string& names) {
  const std::map<std::string, int> flags{
      {"lazy", RTLD_LAZY},         {"now", RTLD_NOW},           {"global", RTLD_GLOBAL},
      {"local", RTLD_LOCAL},       {"nodelete", RTLD_NODELETE}, {"noload", RTLD_NOLOAD},
      {"deepbind", RTLD_DEEPBIND},
  };
  int all = 0;
  std::istringstream words(names);
  for (std::string name; std::getline(words, name, '+');) all |= flags.at(name);
  return all;
}
