// A failed check prints its place and makes the program exit with 1 at the end of main().
#pragma once

#include <cstdio>
#include <exception>
#include <string>

inline int failures = 0;

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            std::printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
            ++failures;                                                         \
        }                                                                       \
    } while (false)

// The call throws Error, and the message contains `part`.
template <class Error, class Call>
bool throws_with(const std::string& part, Call call) {
    try {
        call();
    } catch (const Error& error) {
        return std::string(error.what()).find(part) != std::string::npos;
    }
    return false;
}
