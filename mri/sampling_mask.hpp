#pragma once
// Which points of k-space an accelerated scan would acquire: masks for retrospective undersampling.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

namespace monarch::mri {

/// The first four undersample one axis in whole lines, by the definitions of fastMRI (Zbontar et al. 2018): the centre
/// of N_low = round(n · centre_fraction) lines from (n − N_low + 1) div 2 on, and of n lines
///   random               each other line with probability (n/R − N_low)/(n − N_low): n/R lines on average
///   equispaced           every round(R)-th from a random one on, the centre on top: more lines than n/R
///   equispaced_fraction  lines round(o + i s) with s = R (N_low − n)/(N_low R − n) and a random o < round(s): about
///   n/R
///                        lines with the centre, though not equally far apart; the masks of fastMRI's test data
///   magic                every s-th line, s = round(n/(round(n/R) − N_low)), two further out on one side of the
///                        centre, so that lines mirrored by conjugate symmetry fall between those sampled
///   poisson_disc         points of a plane no nearer to each other than max(1, a (d/d_edge)^density), d being the
///                        distance of one of them to the centre on an ellipse that the plane holds (d = d_edge on its
///                        rim); the centre fully sampled; a is found by bisection (Cook 1986; Lustig et al. 2007)
enum class MaskKind { random, equispaced, equispaced_fraction, magic, poisson_disc };

struct MaskOptions {
  MaskKind kind = MaskKind::poisson_disc;
  double acceleration = 4;     ///< R: points of the whole plane (or lines of the axis) over those sampled
  double centre_fraction = 0;  ///< of lines that are always sampled; 0: 0.32/R (0.08 at 4, 0.04 at 8)
  int64_t calibration = 12;    ///< poisson_disc: side of the centre that is always sampled; 0: none
  bool elliptical = true;      ///< poisson_disc: no points outside the ellipse, as in SKM-TEA; the centre stays whole
  double density = 1;          ///< poisson_disc: power by which distances grow from the centre; 0: the same everywhere
};

/// [y, x] bool, true where sampled. axis (0 y, 1 x) is the undersampled one of the kinds in lines. The mask depends on
/// its arguments alone: `scan_id` gives every scan one of its own. poisson_disc ends for any extents and has
/// round(y x / R) points exactly, corners counted in y x; lines have what their definition gives. R = 1 samples all.
/// Throws ConfigError, saying what is possible, for an acceleration that the centre (or the ellipse) rules out, and
/// ShapeError for extents below 1. Cost: 512 × 160 points in about 40 ms.
at::Tensor sampling_mask(at::IntArrayRef extent, int64_t axis, const MaskOptions& options, uint64_t seed,
                         const std::string& scan_id);

/// "random", "equispaced", "equispaced-fraction", "magic", "poisson-disc", and back (ConfigError naming them).
std::string mask_kind_name(MaskKind kind);
MaskKind parse_mask_kind(const std::string& name);

}  // namespace monarch::mri
