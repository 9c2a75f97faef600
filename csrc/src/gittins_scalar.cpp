// The baseline instruction set.
#include "gittins_tiles.h"

namespace sagesched {

const Level scalar_level = {"scalar", make_kernel<float, 1, 4>(), make_kernel<double, 1, 4>()};

}  // namespace sagesched
