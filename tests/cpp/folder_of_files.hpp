// A temporary folder for one test, which stands for the root of a file system.
#pragma once

#include <atomic>
#include <filesystem>
#include <fstream>
#include <string>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

class FolderOfFiles {
  public:
    FolderOfFiles() {
        static std::atomic<int> count{0};
        std::string name = "fastplr_test_folder_" + std::to_string(++count);
#if defined(__unix__) || defined(__APPLE__)
        name += "_" + std::to_string(getpid());
#endif
        path_ = std::filesystem::temp_directory_path() / name;
        std::filesystem::create_directories(path_);
    }
    ~FolderOfFiles() { std::filesystem::remove_all(path_); }
    FolderOfFiles(const FolderOfFiles&) = delete;
    FolderOfFiles& operator=(const FolderOfFiles&) = delete;

    /// Writes (or replaces) the file at `path`, such as "/proc/self/statm", with the folders above it.
    void write(const std::string& path, const std::string& text) const {
        const std::filesystem::path file = path_.string() + path;
        std::filesystem::create_directories(file.parent_path());
        std::ofstream(file) << text;
    }

    std::string root() const { return path_.string(); }

  private:
    std::filesystem::path path_;
};
