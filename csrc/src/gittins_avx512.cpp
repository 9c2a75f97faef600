// Built with -mavx512*: runs only where simd_level.cpp has found AVX-512.
#include "gittins_tiles.h"
#include "read_sum.h"

namespace sagesched {

const Level avx512_level = {"avx512", make_kernel<float, 16, 2>(), make_kernel<double, 8, 2>(),
                            sum_of<float, 16>, sum_of<double, 8>};

}  // namespace sagesched
