// Built with -mavx2: runs only where simd_level.cpp has found AVX2.
#include "gittins_tiles.h"
#include "read_sum.h"

namespace sagesched {

const Level avx2_level = {"avx2", make_kernel<float, 8, 2>(), make_kernel<double, 4, 2>(),
                          sum_of<float, 8>, sum_of<double, 4>};

}  // namespace sagesched
