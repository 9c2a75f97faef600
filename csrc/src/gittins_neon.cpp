// NEON is part of every 64-bit Arm machine.
#include "gittins_tiles.h"

namespace sagesched {

const Level neon_level = {"neon", make_kernel<float, 4, 4>(), make_kernel<double, 2, 4>()};

}  // namespace sagesched
