// NEON is part of every 64-bit Arm machine.
#include "gittins_tiles.h"
#include "read_sum.h"

namespace sagesched {

const Level neon_level = {"neon", make_kernel<float, 4, 4>(), make_kernel<double, 2, 4>(),
                          sum_of<float, 4>, sum_of<double, 2>};

}  // namespace sagesched
