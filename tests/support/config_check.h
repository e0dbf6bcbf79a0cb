// What the tests of config.json share.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "base/errors.h"
#include "base/json.h"
#include "model/hf/config_json.h"

namespace centavo::testing {

inline ConfigJson parse(const nlohmann::json& file) { return parse_config_json(json_text(file), "DIR/config.json"); }

// Refused with a UserError that names the file and says `why`.
inline void expect_refused(const std::string& text, const std::string& why) {
  try {
    parse_config_json(text, "DIR/config.json");
    ADD_FAILURE() << "accepted, expected: " << why;
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("DIR/config.json"), std::string::npos) << error.what();
  }
}

inline void expect_refused(const nlohmann::json& file, const std::string& why) { expect_refused(json_text(file), why); }

}  // namespace centavo::testing
