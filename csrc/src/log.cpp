#include "log.h"

#include <cstdint>
#include <cstring>

namespace sagesched {
namespace {

// ln(2) in two parts. The first has 32 significant bits, so that its product with an exponent is
// exact.
constexpr double ln2_head = 0x1.62e42feep-1;
constexpr double ln2_tail = 0x1.a39ef35793c76p-33;
constexpr std::uint64_t bits_of_sqrt_half = 0x3fe6a09e667f3bcd;
constexpr int mantissa_bits = 52;

// value = 2^e * m with m in [sqrt(1/2), sqrt(2)), and ln(m) = 2 artanh(s), s = (m - 1) / (m + 1):
//   ln(m) = 2 s + s z (2/3 + z (2/5 + z (2/7 + ...))),  z = s^2 <= 0.0295
// The first term left out is 2.4e-17 of the sum.
inline double log_of(double value) {
    std::uint64_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    const std::int64_t exponent =
        static_cast<std::int64_t>(bits - bits_of_sqrt_half) >> mantissa_bits;
    bits -= static_cast<std::uint64_t>(exponent) << mantissa_bits;
    double m;
    std::memcpy(&m, &bits, sizeof m);

    const double s = (m - 1.0) / (m + 1.0);
    const double z = s * s;
    double tail = 2.0 / 19;
    tail = tail * z + 2.0 / 17;
    tail = tail * z + 2.0 / 15;
    tail = tail * z + 2.0 / 13;
    tail = tail * z + 2.0 / 11;
    tail = tail * z + 2.0 / 9;
    tail = tail * z + 2.0 / 7;
    tail = tail * z + 2.0 / 5;
    tail = tail * z + 2.0 / 3;
    const auto e = static_cast<double>(exponent);
    return e * ln2_head + (e * ln2_tail + (2.0 * s + s * z * tail));
}

}  // namespace

double natural_log(double value) { return log_of(value); }

void natural_log(const float* values, std::size_t count, double* out) {
    for (std::size_t i = 0; i < count; ++i) out[i] = log_of(static_cast<double>(values[i]));
}

}  // namespace sagesched
