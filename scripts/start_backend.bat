@echo off
rem Sets up what is missing, then starts the backend that Blender's panel finds by itself. Stop it by closing this window.
setlocal
for %%P in ("py -3.11" "python" "py -3" "python3") do (
  %%~P -c "import sys; sys.exit(sys.version_info < (3, 11))" >nul 2>nul && set "PYTHON=%%~P" && goto found
)
echo restage4d: Python 3.11 or newer was not found. Install Python 3.11 from python.org, then start again. 1>&2
pause
exit /b 1
:found
%PYTHON% "%~dp0bootstrap.py" serve %*
if errorlevel 1 pause
exit /b %errorlevel%
