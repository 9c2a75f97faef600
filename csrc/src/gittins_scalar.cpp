// The baseline instruction set.
#include "gittins_tiles.h"
#include "read_sum.h"

namespace sagesched {

const Level scalar_level = {"scalar", make_kernel<float, 1, 4>(), make_kernel<double, 1, 4>(),
                            sum_of<float, 1>, sum_of<double, 1>};

}  // namespace sagesched
