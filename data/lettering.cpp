#include "monarch/data/lettering.hpp"

#include <ATen/ATen.h>
#include <ft2build.h>
#include FT_FREETYPE_H

#include <algorithm>

#include "monarch/core/error.hpp"

// The font is part of the program, so that pictures look the same everywhere.
__asm__(
    ".pushsection .rodata\n"
    ".global monarch_font_begin\n"
    "monarch_font_begin:\n"
    ".incbin \"" MONARCH_FONT_FILE
    "\"\n"
    ".global monarch_font_end\n"
    "monarch_font_end:\n"
    ".byte 0\n"
    ".popsection\n");
extern "C" const unsigned char monarch_font_begin[];
extern "C" const unsigned char monarch_font_end[];

namespace monarch::data {

namespace {

/// FreeType's objects serve one thread at a time.
class Font {
 public:
  Font() {
    check<BackendError>(FT_Init_FreeType(&library_) == 0, "FreeType does not start");
    check<BackendError>(
        FT_New_Memory_Face(library_, monarch_font_begin, monarch_font_end - monarch_font_begin, 0, &face_) == 0,
        "FreeType cannot read the font of the program");
  }
  ~Font() { FT_Done_FreeType(library_); }  // with its faces
  Font(const Font&) = delete;
  Font& operator=(const Font&) = delete;

  /// The next letter, rendered; its place in the line moves on by the returned width.
  FT_GlyphSlot letter(char32_t code, int pixels) {
    FT_Set_Pixel_Sizes(face_, 0, static_cast<FT_UInt>(pixels));
    check<BackendError>(FT_Load_Char(face_, code, FT_LOAD_RENDER) == 0, "FreeType cannot draw a letter");
    return face_->glyph;
  }

 private:
  FT_Library library_ = nullptr;
  FT_Face face_ = nullptr;
};

Font& font() {
  thread_local Font instance;
  return instance;
}

/// Takes one character off the front; U+FFFD for bytes that are not UTF-8.
char32_t next_character(std::string_view& text) {
  const auto byte = [&](size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned first = byte(0);
  const size_t more = first < 0x80 ? 0 : first >> 5 == 6 ? 1 : first >> 4 == 14 ? 2 : first >> 3 == 30 ? 3 : 9;
  char32_t code = more == 0 ? first : first & (0x3Fu >> more);
  for (size_t i = 1; i <= more; ++i) {
    if (more == 9 || byte(i) >> 6 != 2) {
      text.remove_prefix(1);
      return 0xFFFD;
    }
    code = code << 6 | (byte(i) & 0x3Fu);
  }
  text.remove_prefix(more + 1);
  return code;
}

constexpr int kFraction = 64;  // FreeType counts in 1/64 pixel

}  // namespace

int64_t text_width(std::string_view text, int pixels) {
  int64_t width = 0;
  while (!text.empty()) width += font().letter(next_character(text), pixels)->advance.x;
  return (width + kFraction - 1) / kFraction;
}

void draw_text(at::Tensor& picture, std::string_view text, int64_t x, int64_t baseline, int pixels) {
  const int64_t ny = picture.size(0), nx = picture.size(1);
  uint8_t* const rgb = picture.data_ptr<uint8_t>();
  for (int64_t pen = x * kFraction; !text.empty();) {
    const FT_GlyphSlot letter = font().letter(next_character(text), pixels);
    const FT_Bitmap& bitmap = letter->bitmap;
    const int64_t left = (pen + kFraction / 2) / kFraction + letter->bitmap_left, top = baseline - letter->bitmap_top;
    for (int64_t row = 0; row < bitmap.rows; ++row) {
      for (int64_t column = 0; column < bitmap.width; ++column) {
        const int64_t py = top + row, px = left + column;
        if (py < 0 || px < 0 || py >= ny || px >= nx) continue;
        const int ink = bitmap.buffer[row * bitmap.pitch + column] / 16;  // 0 … 15
        uint8_t* const pixel = rgb + 3 * (py * nx + px);
        const auto grey = static_cast<uint8_t>(255 - 17 * ink);
        for (int c = 0; c < 3; ++c) pixel[c] = std::min(pixel[c], grey);
      }
    }
    pen += letter->advance.x;
  }
}

}  // namespace monarch::data
