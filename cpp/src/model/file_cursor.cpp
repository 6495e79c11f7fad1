#include "model/file_cursor.hpp"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "fastplr/errors.hpp"
#include "model/printable.hpp"

namespace fastplr {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBufferBytes = std::size_t{256} << 10;

fs::path native_path(const std::string& path) {
#ifdef _WIN32
    return fs::path(std::u8string(path.begin(), path.end()));
#else
    return fs::path(path);
#endif
}

const char* kind_name(fs::file_type type) {
    switch (type) {
        case fs::file_type::directory:
            return "a directory";
        case fs::file_type::fifo:
            return "a named pipe";
        case fs::file_type::socket:
            return "a socket";
        case fs::file_type::character:
            return "a character device";
        case fs::file_type::block:
            return "a block device";
        default:
            return "no regular file";
    }
}

}  // namespace

std::string model_file_message(const std::string& path, const std::string& message) {
    return "model file " + quoted(path, 4096) + ": " + message;
}

FileCursor::FileCursor(const std::string& path) : path_(path) {
    if (path.empty()) fail("the path is empty; expected the path of a GGUF file");
    if (path.find('\0') != std::string::npos)
        fail("the path contains a NUL byte; expected the path of a GGUF file");
    std::error_code error;
    const fs::path native = native_path(path);
    const fs::file_status status = fs::status(native, error);
    // Looked at before opening: opening a named pipe would wait for a writer for ever.
    if (status.type() == fs::file_type::not_found) fail("there is no such file");
    if (error) fail("cannot be looked at: " + error.message());
    if (status.type() != fs::file_type::regular) {
        fail(std::string("is ") + kind_name(status.type()) + "; expected a GGUF file");
    }
    size_ = fs::file_size(native, error);
    if (error) fail("its size cannot be read: " + error.message());
    if (size_ == 0) fail("is empty (0 bytes); expected a GGUF file");
    end_ = size_;
    stream_.open(native, std::ios::binary);
    if (!stream_) fail("cannot be opened for reading; check its permissions");
}

void FileCursor::fail(const std::string& message) const {
    throw ModelError(model_file_message(path_, message));
}

void FileCursor::set_limit(std::uint64_t limit) { end_ = std::min(size_, std::max(limit, position_)); }

void FileCursor::require(std::uint64_t n_bytes, std::string_view what) const {
    if (n_bytes <= end_ - position_) return;
    const std::string subject(what);
    const std::string at = " at byte " + std::to_string(position_);
    if (n_bytes > size_ - position_) {
        fail(subject + at + " needs " + std::to_string(n_bytes) + " bytes, but the file ends after " +
             std::to_string(size_ - position_) + " more (it has " + std::to_string(size_) +
             " bytes): the file is cut short or damaged");
    }
    fail(subject + at + " needs " + std::to_string(n_bytes) + " bytes and would pass the limit of " +
         std::to_string(end_) + " bytes for metadata and tensor list: the file is damaged");
}

void FileCursor::seek(std::uint64_t position, std::string_view what) {
    if (position > end_) {
        position_ = std::min(position_, end_);
        require(position - position_, what);
    }
    position_ = position;
}

void FileCursor::skip(std::uint64_t n_bytes, std::string_view what) {
    require(n_bytes, what);
    position_ += n_bytes;
}

void FileCursor::refill(std::string_view what) {
    const auto n_bytes = static_cast<std::size_t>(std::min<std::uint64_t>(kBufferBytes, size_ - position_));
    buffer_.resize(n_bytes);
    stream_.clear();
    stream_.seekg(static_cast<std::streamoff>(position_));
    stream_.read(buffer_.data(), static_cast<std::streamsize>(n_bytes));
    if (static_cast<std::size_t>(stream_.gcount()) != n_bytes) {
        buffer_.clear();
        fail("reading " + std::string(what) + " at byte " + std::to_string(position_) +
             " failed: the file changed while it was read, or the disk reported an error");
    }
    buffer_start_ = position_;
}

void FileCursor::read(void* destination, std::uint64_t n_bytes, std::string_view what) {
    require(n_bytes, what);
    auto* out = static_cast<char*>(destination);
    while (n_bytes > 0) {
        if (position_ < buffer_start_ || position_ >= buffer_start_ + buffer_.size()) refill(what);
        const auto offset = static_cast<std::size_t>(position_ - buffer_start_);
        const auto count =
            static_cast<std::size_t>(std::min<std::uint64_t>(n_bytes, buffer_.size() - offset));
        std::memcpy(out, buffer_.data() + offset, count);
        out += count;
        position_ += count;
        n_bytes -= count;
    }
}

std::string FileCursor::read_string(std::string_view what) {
    const auto length = read_number<std::uint64_t>(what);
    require(length, what);
    std::string text(static_cast<std::size_t>(length), '\0');
    read(text.data(), length, what);
    return text;
}

void FileCursor::skip_string(std::string_view what) { skip(read_number<std::uint64_t>(what), what); }

}  // namespace fastplr
