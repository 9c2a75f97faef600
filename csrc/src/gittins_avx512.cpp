// Built with -mavx512*: runs only where simd_level.cpp has found AVX-512.
#include "gittins_tiles.h"

namespace sagesched {

const Level avx512_level = {"avx512", make_kernel<float, 16, 2>(), make_kernel<double, 8, 2>()};

}  // namespace sagesched
