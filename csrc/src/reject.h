#pragma once

#include <sstream>
#include <stdexcept>

namespace sagesched {

// Throws std::invalid_argument with the parts as its message; numbers with all their digits.
template <class... Parts>
[[noreturn]] void reject(const Parts&... parts) {
    std::ostringstream message;
    message.precision(17);
    (message << ... << parts);
    throw std::invalid_argument(message.str());
}

}  // namespace sagesched
