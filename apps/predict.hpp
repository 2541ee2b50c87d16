#pragma once
// What `monarch predict` does for each kind of task.

#include <string>
#include <vector>

#include "monarch/training/checkpoint.hpp"

namespace monarch::apps {

/// Classifies JPEG and PNG files: a line for each with its likeliest classes, or JSON. Throws DataError.
void predict_images(const training::TrainingCheckpoint& checkpoint, const std::string& origin,
                    const std::vector<std::string>& files, bool json);

}  // namespace monarch::apps
