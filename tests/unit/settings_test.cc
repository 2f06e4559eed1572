#include "engine/settings.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

namespace nextaddr {
namespace {

// A file, with room for the zero at its end.

struct SettingsFile {
  explicit SettingsFile(std::string written)
      : size(written.size()), text(std::move(written) + "x"), settings(text.data(), size) {}
  std::string taken(const char* name) {
    const char* value = settings.take(name);
    return value != nullptr ? value : "none";
  }
  [[nodiscard]] std::string left_over() const {
    const char* line = settings.left_over();
    return line != nullptr ? line : "none";
  }
  std::size_t size;
  std::string text;
  Settings settings;
};

TEST(Settings, LinesCommentsAndWhiteSpace) {
  SettingsFile file("# a comment\n\n  \t\nA=1\r\n \tB = 2\n\tC=x y \n#D=4\nE=\nF==#5");
  EXPECT_EQ(file.taken("A"), "1");
  EXPECT_EQ(file.taken("B"), "none") << "white space is not to be around the =";
  EXPECT_EQ(file.taken("C"), "x y");
  EXPECT_EQ(file.taken("D"), "none");
  EXPECT_EQ(file.taken("E"), "");
  EXPECT_EQ(file.taken("F"), "=#5");
  EXPECT_EQ(file.taken("A comment"), "none");
  EXPECT_EQ(file.left_over(), "B = 2");
}

TEST(Settings, WhatNobodyTakesIsLeftOver) {
  SettingsFile file("A=1\nAB=2\nA=3\n");
  EXPECT_EQ(file.left_over(), "A=1");
  EXPECT_EQ(file.taken("AB"), "2");
  EXPECT_EQ(file.taken("A"), "1");
  EXPECT_EQ(file.left_over(), "A=3") << "said twice";
  for (const char* text : {"", "\n", "#", " # A=1", "\r\n\r\n"}) {
    SettingsFile nothing(text);
    EXPECT_EQ(nothing.taken("A"), "none") << text;
    EXPECT_EQ(nothing.left_over(), "none") << text;
  }
  EXPECT_EQ(Settings().take("A"), nullptr);
  EXPECT_EQ(Settings().left_over(), nullptr);
}

}  // namespace
}  // namespace nextaddr
