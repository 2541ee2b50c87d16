#pragma once
// Peer programs run through core/process.hpp.

#include "monarch/core/process.hpp"
