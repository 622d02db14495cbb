#include "test/numerics/Harness.h"
#include <catch2/catch.hpp>
