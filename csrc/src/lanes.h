// A vector of `width` values, one request in each; width 1 is a plain number. Only what the kernel
// needs, written with the compiler's vector types instead of one instruction set's names.
// Included by files with different instruction-set flags: hence the anonymous namespace, and no
// function of the standard library, whose bodies the linker would merge across those files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#ifdef __CUDACC__
#define SAGESCHED_DEVICE __host__ __device__ __forceinline__
#else
#define SAGESCHED_DEVICE inline __attribute__((always_inline))
#endif

// A thread of a CUDA device has one request only: what hides the latency of its memory are loads of
// later columns.
#ifdef __CUDA_ARCH__
#define SAGESCHED_UNROLL_COLUMNS _Pragma("unroll 16")
#define SAGESCHED_PREFETCH(address)
#else
#define SAGESCHED_UNROLL_COLUMNS
#define SAGESCHED_PREFETCH(address) __builtin_prefetch(address, 0, 2)
#endif

namespace sagesched {
namespace {

template <class T>
struct WordOf;
template <>
struct WordOf<float> {
    using Type = std::uint32_t;
};
template <>
struct WordOf<double> {
    using Type = std::uint64_t;
};

template <class T, int width>
struct Lanes {
    using Scalar = T;
    using Word = typename WordOf<T>::Type;
    static constexpr int count = width;
#ifndef __CUDACC__
    typedef T Value __attribute__((vector_size(width * sizeof(T))));
    typedef Word Words __attribute__((vector_size(width * sizeof(T))));
    // Doubles are compared by halves: AVX2 has no maximum of 64-bit integers.
    typedef std::uint32_t Bits __attribute__((vector_size(width * sizeof(T))));

    static SAGESCHED_DEVICE Value splat(T x) { return x - Value{}; }
    static SAGESCHED_DEVICE Value load(const T* from) {
        Value value;
        __builtin_memcpy(&value, from, sizeof value);
        return value;
    }
    static SAGESCHED_DEVICE void store(T* to, Value value) {
        __builtin_memcpy(to, &value, sizeof value);
    }
    static SAGESCHED_DEVICE Bits bits(Value value) { return reinterpret_cast<Bits>(value); }
    static SAGESCHED_DEVICE Value value(Bits bits) { return reinterpret_cast<Value>(bits); }
    static SAGESCHED_DEVICE auto at_most(Bits bits, Word limit) {
        return reinterpret_cast<Words>(bits) <= (limit - Words{});
    }
    template <class Mask>
    static SAGESCHED_DEVICE Value select(Mask mask, Value yes, Value no) {
        return mask ? yes : no;
    }
    template <class Mask>
    static SAGESCHED_DEVICE bool any(Mask mask) {
        return any_word(reinterpret_cast<Halves>(mask));
    }

  private:
    typedef std::uint64_t Halves __attribute__((vector_size(width * sizeof(T))));

    template <class Vector>
    static SAGESCHED_DEVICE bool any_word(Vector words) {
        constexpr int half = sizeof(Vector) / 16;
        if constexpr (half == 1) {
            return (words[0] | words[1]) != 0;
        } else {
            typedef std::uint64_t Half __attribute__((vector_size(half * 8)));
            Half low, high;
            __builtin_memcpy(&low, &words, sizeof low);
            __builtin_memcpy(&high, reinterpret_cast<const char*>(&words) + sizeof low,
                             sizeof high);
            return any_word(low | high);
        }
    }
#endif
};

template <class T>
struct Lanes<T, 1> {
    using Scalar = T;
    using Word = typename WordOf<T>::Type;
    static constexpr int count = 1;
    using Value = T;
    using Bits = Word;

    static SAGESCHED_DEVICE Value splat(T x) { return x; }
    static SAGESCHED_DEVICE Value load(const T* from) { return *from; }
    static SAGESCHED_DEVICE void store(T* to, Value value) { *to = value; }
    static SAGESCHED_DEVICE Bits bits(Value value) {
        Bits bits;
        __builtin_memcpy(&bits, &value, sizeof bits);
        return bits;
    }
    static SAGESCHED_DEVICE Value value(Bits bits) {
        Value value;
        __builtin_memcpy(&value, &bits, sizeof value);
        return value;
    }
    static SAGESCHED_DEVICE bool at_most(Bits bits, Word limit) { return bits <= limit; }
    static SAGESCHED_DEVICE Value select(bool mask, Value yes, Value no) { return mask ? yes : no; }
    static SAGESCHED_DEVICE bool any(bool mask) { return mask; }
};

template <class V>
SAGESCHED_DEVICE V larger(V a, V b) {
    return a > b ? a : b;
}

template <class V>
SAGESCHED_DEVICE V smaller(V a, V b) {
    return b < a ? b : a;
}

SAGESCHED_DEVICE double square_root(double value) { return __builtin_sqrt(value); }

template <class T>
SAGESCHED_DEVICE T least_normal() {
    return sizeof(T) == 4 ? T(0x1p-126) : T(0x1p-1022);
}

template <class T>
SAGESCHED_DEVICE T largest_finite() {
    return sizeof(T) == 4 ? T(0x1.fffffep127) : T(0x1.fffffffffffffp1023);
}

}  // namespace
}  // namespace sagesched
